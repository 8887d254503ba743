TMPROOT=${TMPDIR:=/tmp}
TARGET_OS="Linux"
TARGET_ARCH="@ARCHITECTURE@"
# What runs in front of the payload, written for tests: it does what NVIDIA's stub does, in its order, with its
# exit codes. `$0` stays unquoted, as there: a path with a blank does not work.

decompressor="@DECOMPRESSOR@"

payload() {
    tail -n +$skip $0 | if [ "$decompressor" = cat ]; then cat; else $decompressor -d -c; fi
}

one_dot_per_member() {
    while read -r _; do printf .; done
    echo
}

unpack() {
    { (cd "$1" && tar xf - -v) || unpacking_failed; } | one_dot_per_member
}

unpacking_failed() {
    echo "Unable to unpack the payload; are temporary directory and file in order?" > /dev/tty
    kill -15 $$
}

# usage: sums_are_right WORDS; WORDS stand between `Error in` and the two sums that differ.
sums_are_right() {
    if command -v cksum > /dev/null 2>&1; then
        found=$(tail -n +4 $0 | cksum | awk '{ print $1 }')
        if [ "$found" != "$CRCsum" ]; then
            echo "Error in $1 $found $CRCsum"
            return 2
        fi
    fi
    [ "$2" = md5-zero-is-none ] && [ "$MD5" = 00000000000000000000000000000000 ] && return 0
    if command -v md5sum > /dev/null 2>&1; then
        found=$(tail -n +4 $0 | md5sum | cut -b 1-32)
        if [ "$found" != "$MD5" ]; then
            echo "Error in md5 sums $found $MD5"
            return 2
        fi
    fi
}

embedded_decompressor() {
    tail -n +$skip_decompress $0 | head -n $size_decompress
}

# The embedded decompressor goes first in PATH if the system has none.
find_decompressor() {
    [ "$decompressor" = cat ] && return
    which "$decompressor" > /dev/null 2>&1 && return
    [ "$size_decompress" -gt 0 ] || return
    embedded=$(mktemp -d "$TMPDIR/makeself.XXXXXXXX") || exit 1
    embedded_decompressor > "$embedded/$decompressor"
    chmod 0700 "$embedded/$decompressor"
    PATH=$embedded:$PATH
    export PATH
}

tidy() {
    [ -z "$embedded" ] || rm -rf "$embedded"
}

can_execute_in() {
    probe=$(mktemp "$1/makeself.XXXXXXXX") || return 1
    printf '#! /bin/sh\nexit 0\n' > "$probe"
    chmod 0700 "$probe"
    "$probe" > /dev/null 2>&1
    result=$?
    rm -f "$probe"
    return $result
}

usage() {
    cat << END_OF_USAGE
$label

sh $0 [one of the first kind] [options]

First kind, alone:
  --help, --advanced-options, --info, --lsm, --pkg-history, --label, --version-string, --pkg-version, --target-os,
  --target-arch, --target-directory, --script, --list, --check, --extract-decompress
Options:
  -x, --extract-only   unpack into \`$targetdir' here and do not install
  --keep               leave the unpacked files where they are
  --target DIR         unpack into DIR and leave the files there
  --tmpdir DIR         where to unpack
Everything else goes to $script.
END_OF_USAGE
}

info() {
    cat << END_OF_INFO
Identification    : $label
Target directory  : $targetdir
Uncompressed size : @UNCOMPRESSED_KB@ KB
Compression       : @COMPRESSION@
Date of packaging : @DATE@
Script run after extraction:
    $script $scriptargs
END_OF_INFO
}

embedded=
case "$1" in
    --help | -h) usage; exit 0 ;;
    --advanced-options | -A)
        cat << END_OF_OPTIONS
@ADVANCED_OPTIONS@
END_OF_OPTIONS
        exit 0 ;;
    --info) info; exit 0 ;;
    --lsm) echo "$label"; exit 0 ;;
    --pkg-history) exit 0 ;;
    --label) echo "$label"; exit 0 ;;
    --version-string) echo "$version_string"; exit 0 ;;
    --pkg-version) echo "$pkg_version"; exit 0 ;;
    --target-os) echo "$TARGET_OS"; exit 0 ;;
    --target-arch) echo "$TARGET_ARCH"; exit 0 ;;
    --target-directory) echo "$targetdir"; exit 0 ;;
    --script) echo "$script"; exit 0 ;;
    --list) find_decompressor; payload | tar tvf -; result=$?; tidy; exit $result ;;
    --check)
        sums_are_right checksums md5-zero-is-none || exit $?
        echo "check sums and md5 sums are ok"
        exit 0 ;;
    --extract-decompress) embedded_decompressor; exit 0 ;;
esac

extract_only=n
target=
while [ $# -gt 0 ]; do
    case "$1" in
        -x | --extract-only) extract_only=y; keep=y; shift ;;
        --keep) keep=y; shift ;;
        --target) target=$2; keep=y; shift 2 ;;
        --tmpdir) TMPROOT=$2; scriptargs="$scriptargs --tmpdir $2"; shift 2 ;;
        --add-this-kernel) add_this_kernel=y; shift ;;
        --apply-patch) apply_patch=$2; shift 2 ;;
        *) scriptargs="$scriptargs $1"; shift ;;
    esac
done

find_decompressor
if ! can_execute_in "$TMPROOT"; then
    echo "ERROR: Temporary directory $TMPROOT is not executable or not writable; use --tmpdir to name another one." >&2
    tidy
    exit 1
fi
if [ $extract_only = n ] && { [ "$(uname -s)" != "$TARGET_OS" ] || [ "$(uname -m)" != "$TARGET_ARCH" ]; }; then
    echo "ERROR: this .run file is intended for the $TARGET_OS-$TARGET_ARCH platform, which this machine is not." >&2
    tidy
    exit 1
fi

if [ -n "$target" ]; then
    directory=$target
elif [ $extract_only = y ]; then
    directory=$targetdir
else
    temporary=$TMPROOT/selfgz$$
    directory=$temporary/$targetdir
fi
mkdir -p "$directory" || { tidy; exit 1; }

printf 'Verifying archive integrity... '
if [ "$SETUP_NOCHECK" != 1 ]; then
    sums_are_right "check sums" || exit $?
fi
echo OK
printf 'Uncompressing %s' "$label"
trap 'exit 15' 15
payload | unpack "$directory"

result=0
if [ $extract_only = n ]; then
    here=$(pwd)
    cd "$directory" || exit 1
    $script $scriptargs
    result=$?
    cd "$here" || exit 1
fi
if [ "$keep" = n ] && [ -n "$temporary" ]; then
    rm -rf "$temporary"
fi
tidy
exit $result
END_OF_STUB
