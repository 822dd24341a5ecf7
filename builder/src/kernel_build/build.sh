# Compiles modules out of a kernel's tree, in the sandbox (builder/src/kernel_build).
# usage: sh build.sh RELEASE JOBS FOLDER MODULE...     source.tar.xz, patches/ -> out/MODULE.ko
# Everything that a build would take from its machine or its moment is given here: KERNEL_UNAME is what NVIDIA's makefile asks `uname` for.
# Type information of debuggers (BTF) is off: its tool would be one more input, and nothing in a guest reads it.
set -eu
release=$1 jobs=$2 folder=$3
shift 3

tar --extract --xz --no-same-owner --file source.tar.xz
for patch in patches/*; do
    [ -e "$patch" ] || continue
    echo "patch ${patch#patches/}"
    patch --strip=1 --fuzz=0 --batch --directory="$folder" --input="/build/$patch"
done

make --directory="$folder" --jobs="$jobs" modules \
    ARCH=x86_64 KERNEL_UNAME="$release" NV_KERNEL_MODULES="$*" \
    NV_BUILD_USER=cloister NV_BUILD_HOST=cloister \
    KBUILD_BUILD_USER=cloister KBUILD_BUILD_HOST=cloister KBUILD_BUILD_TIMESTAMP=@0 \
    CONFIG_DEBUG_INFO_BTF_MODULES=

mkdir out
for module; do
    strip --strip-debug --enable-deterministic-archives -o "out/$module.ko" "$folder/$module.ko"
done
