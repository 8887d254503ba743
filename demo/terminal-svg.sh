#!/bin/sh
# Draws a recorded terminal session, plain text on standard input, as an SVG on standard output: terminal-svg.sh [TITLE]
#
# A line that begins with `$ ` is a command, and is drawn as one. docs/pictures/status.svg is made from snapshots of tests:
#
#   cd tests/it/snapshots
#   awk 'FNR == 1 { out = 0 } /^\$ / { print (NR > FNR ? "\n" : "") $0 } /^\[standard error/ { out = 0 }
#       out; /^\[standard output/ { out = 1 }' found_status_before.snap found_apply.snap found_status.snap |
#       sh ../../../demo/terminal-svg.sh > ../../../docs/pictures/status.svg
set -eu

title=${1:-phoenix-nvidia}

awk -v title="$title" '
function escaped(text) {
    gsub(/[[:cntrl:]]/, "", text)
    gsub(/&/, "\\&amp;", text)
    gsub(/</, "\\&lt;", text)
    gsub(/>/, "\\&gt;", text)
    return text
}

function dot(x, color) {
    printf "<circle cx=\"%d\" cy=\"18\" r=\"6\" fill=\"%s\"/>\n", x, color
}

BEGIN {
    columns = 60
    character = 8.4     # the width of a character of 14 pixels in a monospaced font
    height = 19
    margin = 20
    top = 58
}

{
    gsub(/\t/, "        ")
    sub(/ +$/, "")
    lines[NR] = $0
    if (length($0) > columns) columns = length($0)
}

END {
    wide = int(columns * character + 2 * margin + 1)
    high = top + NR * height
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\">\n", wide, high, wide, high
    printf "<title>%s</title>\n", escaped(title)
    printf "<rect width=\"%d\" height=\"%d\" rx=\"10\" fill=\"#1b1f27\"/>\n", wide, high
    printf "<path d=\"M0 36V10A10 10 0 0 1 10 0H%dA10 10 0 0 1 %d 10V36Z\" fill=\"#2a303c\"/>\n", wide - 10, wide
    dot(22, "#e06c75")
    dot(42, "#e5c07b")
    dot(62, "#98c379")
    print "<g font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace\" font-size=\"14\">"
    printf "<text x=\"%d\" y=\"23\" fill=\"#9aa4b5\" font-size=\"13\" text-anchor=\"middle\">%s</text>\n", wide / 2, escaped(title)
    for (line = 1; line <= NR; line++) {
        if (lines[line] == "") continue
        color = lines[line] ~ /^\$ / ? "#98c379" : "#d7dce5"
        # The length keeps columns below each other, whatever font there is.
        printf "<text x=\"%d\" y=\"%d\" fill=\"%s\" textLength=\"%.1f\" xml:space=\"preserve\">%s</text>\n", \
            margin, top + (line - 1) * height, color, length(lines[line]) * character, escaped(lines[line])
    }
    print "</g>"
    print "</svg>"
}
'
