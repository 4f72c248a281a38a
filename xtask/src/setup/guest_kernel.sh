# guest_kernel.sh PACKAGE SERIES: fetches the kernel that PACKAGE stands for and unpacks it in target/vm/linux-SERIES, with an
# index of its modules; it has to be of that series. Nothing is installed: what this machine boots stays as it is. Needs apt, dpkg and kmod.
set -e
package=$1 series=$2 folder=target/vm/linux-$2
rm -rf "$folder" "$folder.new"
mkdir -p "$folder.new"
cd "$folder.new"
image=$(LC_ALL=C apt-cache depends "$package" | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
test -n "$image" || { echo "no package source offers $package" >&2; exit 1; }
case $image in
linux-image-"$series".*) ;;
*) echo "$package is $image now, not $series" >&2; exit 1 ;;
esac
apt-get download "$image"
dpkg-deb --extract ./*.deb .
rm ./*.deb
depmod --basedir "$PWD" "${image#linux-image-}"
cd - >/dev/null
mv "$folder.new" "$folder"
