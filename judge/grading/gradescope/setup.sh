#!/usr/bin/env bash
# Gradescope runs this once, when it builds the image: everything that needs the network.
# After it, every submission is judged offline, from a VM that has booted already.
set -eu
AUTOGRADER=${AUTOGRADER:-/autograder}
cd "$AUTOGRADER/source"
# shellcheck source=/dev/null
. /etc/os-release

apt-get -qq update
apt-get -qq -y install --no-install-recommends make python3 >/dev/null
if [ "$ID" != debian ]; then
	# Not Debian: there the course finds a kernel by itself. Here it gets the newest
	# one with its headers, and the compiler that it was built with.
	apt-get -qq -y install --no-install-recommends gcc-12 \
		"linux-headers-generic-hwe-$VERSION_ID" >/dev/null
	headers=$(find /usr/src -maxdepth 1 -name 'linux-headers-*-generic' | sort -V | tail -n 1)
	release=${headers##*/linux-headers-}
	apt-get -qq download "linux-image-unsigned-$release" ||
		apt-get -qq download "linux-image-$release"
	dpkg -x linux-image-*"$release"*.deb "$AUTOGRADER/kernel"
	printf 'export KDIR=%s KIMAGE=%s\n' "$headers" "$AUTOGRADER/kernel/boot/vmlinuz-$release" \
		>"$AUTOGRADER/kernel.sh"
	# shellcheck source=/dev/null
	. "$AUTOGRADER/kernel.sh"
fi
# Installs the tools, fetches what is missing, boots the VM and saves it.
KMSGPIPE_CACHE=$AUTOGRADER/cache make -s -C course lab1 test
