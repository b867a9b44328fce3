package install

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkMatches looks for what triggers a hook among the files of a desktop.
func BenchmarkMatches(b *testing.B) {
	var pkgs []*pkg
	for i := range 500 {
		p := &pkg{}
		for j := range 200 {
			p.files = append(p.files, fmt.Sprintf("usr/share/locale/lang%d/LC_MESSAGES/package%d.mo", j, i))
		}
		pkgs = append(pkgs, p)
	}
	h, err := parseHook("x.hook", []byte(hookText("Exec = /bin/x\n", triggerText("Path", "usr/lib/modules/*/vmlinuz", "usr/share/icons/*/", "*.so"))))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if got := h.matches(pkgs); len(got) > 0 {
			b.Fatal(strings.Join(got, " "))
		}
	}
}
