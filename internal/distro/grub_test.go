package distro

import (
	"strings"
	"testing"
)

func TestMenuNeedsAnInitramfs(t *testing.T) {
	const kernel = "menuentry 'Linux' {\n\tload_video\n\tlinux\t/boot/vmlinuz-linux root=UUID=x ro\n"
	for name, test := range map[string]struct{ menu, refused string }{
		"both":           {kernel + "\tinitrd\t/boot/initramfs-linux.img\n}\n", ""},
		"no initramfs":   {kernel + "}\n", "/boot/vmlinuz-linux without an initramfs"},
		"one of two has": {kernel + "\tinitrd\t/boot/a.img\n}\nsubmenu 'more' {\n" + kernel + "\t}\n}\n", "without an initramfs"},
		"no kernel":      {"### BEGIN /etc/grub.d/10_linux ###\nif x; then\n  insmod all_video\nfi\n", "no kernel"},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkMenu([]byte(test.menu))
			if (err == nil) != (test.refused == "") || err != nil && !strings.Contains(err.Error(), test.refused) {
				t.Errorf("%v; wanted %q", err, test.refused)
			}
		})
	}
}
