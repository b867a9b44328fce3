package verify

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func split(text string) []string {
	var lines []string
	s := &splitter{emit: func(line string) { lines = append(lines, line) }}
	_, _ = s.Write([]byte(text))
	s.flush()
	return lines
}

func TestSplitter(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		in   string
		want []string
	}{
		"plain":         {"one\ntwo\r\n\r\nthree", []string{"one", "two", "three"}},
		"progress":      {"10%\r20%\rdone\n", []string{"10%", "20%", "done"}},
		"colour":        {"[\x1b[0;1;31mFAILED\x1b[0m] Failed to start \x1b[0;1;39mx.service\x1b[0m.\r\n", []string{"[FAILED] Failed to start x.service."}},
		"systemd":       {"\r\x1b[K[ \x1b[0;31m*\x1b[0;1;31m*\x1b[0m] A job\r\x1b[K[  OK  ] Done\r\n", []string{"[ **] A job", "[  OK  ] Done"}},
		"cursor":        {"\x1b[H\x1b[J\x1b[1;1Herror: no such partition.\x1b[2;1Hgrub rescue> ", []string{"error: no such partition.", "grub rescue>"}},
		"title":         {"\x1b]0;window title\x07root\x1b]2;x\x1b\\@host\n", []string{"root@host"}},
		"charset":       {"\x1b(Bhello\x1bc\x1b[?7lworld\n", []string{"hello", "world"}},
		"backspace":     {"abc\b\b\b\b\bxy\n", []string{"xy"}},
		"controls":      {"a\x00b\x7f\tc\n", []string{"ab c"}},
		"not UTF-8":     {"a\xff\xfeb\n", []string{"a\ufffdb"}},
		"lost escape":   {"\x1b[" + strings.Repeat("1;", 200) + "\nnext\n", []string{";" + strings.Repeat("1;", 72), "next"}},
		"endless title": {"\x1b]" + strings.Repeat("x", maxEscape+10) + "\n", []string{strings.Repeat("x", 11)}},
		"trailing":      {"word   \n   \n", []string{"word"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(tc.want, split(tc.in)); d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzSplitter(f *testing.F) {
	f.Add([]byte("\x1b[1;1H\x1b]0;t\x07\x1b(Ba\r\n\xff\b"), 1)
	f.Add([]byte(strings.Repeat("x", 3*maxLine)), 100)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		var whole, parts []string
		check := func(to *[]string) func(string) {
			return func(line string) {
				if line == "" || !utf8.ValidString(line) || strings.ContainsAny(line, "\n\r\x1b") || len(line) > 3*maxLine {
					t.Errorf("bad line %q", line)
				}
				*to = append(*to, line)
			}
		}
		a, b := &splitter{emit: check(&whole)}, &splitter{emit: check(&parts)}
		_, _ = a.Write(data)
		size = max(1, size&0xff)
		for rest := data; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			_, _ = b.Write(rest[:min(size, len(rest))])
		}
		if d := cmp.Diff(whole, parts); d != "" {
			t.Errorf("how the bytes arrive changes the lines: %s", d)
		}
	})
}
