#!/bin/sh
# Lays out what is installed below ROOT, for the package and for the archive: stage.sh BINARY ROOT PREFIX
#
# PREFIX is usr or usr/local. Manual pages and completions are written by BINARY itself.
set -eu
umask 022

binary=$1
root=$2/$3
prefix=$3
here=$(cd "$(dirname "$0")/.." && pwd)
documents=share/doc/phoenix-nvidia

put() { # MODE FILE DIRECTORY
    install -D -m "$1" "$2" "$root/$3/$(basename "$2")"
}

stage_program() {
    put 755 "$binary" bin
    strip --strip-unneeded "$root/bin/phoenix-nvidia"
    for unit in "$here"/etc/systemd/*; do
        put 644 "$unit" lib/systemd/system
    done
    sed -i "s,/usr/local/bin/phoenix-nvidia,/$prefix/bin/phoenix-nvidia," "$root"/lib/systemd/system/*
}

stage_documents() {
    mkdir -p "$root/share/man/man1"
    "$binary" man "$root/share/man/man1"
    gzip --best --no-name "$root"/share/man/man1/*
    for page in README ARCHITECTURE CONTRIBUTING; do
        put 644 "$here/$page.md" $documents
    done
    sed -i 's,(CHANGELOG.md),(CHANGELOG.md.gz),' "$root/$documents"/*.md
    put 644 "$here/packaging/copyright" $documents
    for document in "$here"/docs/*.md; do
        put 644 "$document" $documents/docs
    done
    for picture in "$here"/docs/pictures/*; do
        put 644 "$picture" $documents/docs/pictures
    done
    for example in "$here"/etc/*.json; do
        put 644 "$example" $documents/examples
    done
    put 644 "$here/etc/logrotate/phoenix-nvidia" $documents/examples/logrotate
    for schema in "$here"/etc/schema/*.json; do
        put 644 "$schema" $documents/examples/schema
    done
    gzip --best --no-name --stdout "$here/CHANGELOG.md" > "$root/$documents/CHANGELOG.md.gz"
}

# zsh looks for what a package brings in one directory and for what the operator brings in another.
stage_completions() {
    if [ "$prefix" = usr ]; then zsh=zsh/vendor-completions; else zsh=zsh/site-functions; fi
    while read -r shell place; do
        mkdir -p "$(dirname "$root/share/$place")"
        "$binary" completions "$shell" > "$root/share/$place"
    done << END
bash bash-completion/completions/phoenix-nvidia
zsh $zsh/_phoenix-nvidia
fish fish/vendor_completions.d/phoenix-nvidia.fish
END
}

stage_program
stage_documents
stage_completions
