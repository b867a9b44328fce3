package install

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"ingot/internal/alpm"
	"ingot/internal/alpm/alpmtest"
)

func TestParseHook(t *testing.T) {
	t.Parallel()
	text := "# a comment\n\n [Trigger] \nType = File\r\nOperation = Remove\nOperation = Install\nTarget = a=b\nTarget = !c d\n" +
		"[Action]\nDescription = one\nDescription=two = 2\nWhen = PreTransaction\nWhen = PostTransaction\nExec = false\nExec = /bin/x 'a b'\n" +
		"Depends = x>=2\nDepends = y\nAbortOnFail\nNeedsTargets = whatever\n[Trigger]\nType = Package\nType = Path\nOperation=Upgrade\nTarget=*\n"
	got, err := parseHook("x.hook", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := &hook{name: "x.hook", after: true, exec: []string{"/bin/x", "a b"}, needsTargets: true,
		depends: []alpm.Depend{{Name: "x", Op: ">=", Version: "2"}, {Name: "y"}},
		triggers: []trigger{
			{install: true, known: true, kind: kindPath, targets: []string{"a=b", "!c d"}},
			{known: true, kind: kindPath, targets: []string{"*"}},
		}}
	if diff := gocmp.Diff(want, got, gocmp.AllowUnexported(hook{}, trigger{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseHookRefuses(t *testing.T) {
	t.Parallel()
	good := "[Trigger]\nType = Path\nOperation = Install\nTarget = x\n[Action]\nWhen = PostTransaction\nExec = /bin/x\n"
	without := func(line string) string { return strings.Replace(good, line+"\n", "", 1) }
	for text, says := range map[string]string{
		"Type = Path\n" + good:                     `line 1: option "Type" stands before any section`,
		good + "[Other]\n":                         `line 8: there is no section "Other"`,
		good + "[ Action ]\n":                      `there is no section " Action "`,
		good + "[Action\n":                         `there is no option "[Action" of an action`,
		good + "Target = x\n":                      `there is no option "Target" of an action`,
		good + "[Trigger]\nExec = x\n":             `there is no option "Exec" of a trigger`,
		good + "When = Later\n":                    `When cannot be "Later"`,
		good + "When\n":                            `When cannot be ""`,
		good + "Description\n":                     `option Description has no value`,
		good + "Depends =\n":                       `names no package`,
		good + "Exec = \"x\n":                      `a quote is not closed`,
		good + "[Trigger]\nType = Folder\n":        `Type cannot be "Folder"`,
		good + "[Trigger]\nOperation = Upgrade,\n": `Operation cannot be "Upgrade,"`,
		good + "[Trigger]\n":                       `trigger 2 has no Target`,
		without("Type = Path"):                     `trigger 1 has no Type`,
		without("Operation = Install"):             `trigger 1 has no Operation`,
		without("Target = x"):                      `trigger 1 has no Target`,
		without("When = PostTransaction"):          `it has no When`,
		without("Exec = /bin/x"):                   `it has no Exec`,
		good + strings.Repeat("x", 5000):           `longer than`,
		good + "#\x00\n":                           `zero byte`,
	} {
		if _, err := parseHook("x.hook", []byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v of %q does not say %q", err, text, says)
		}
	}
	for _, text := range []string{"", "# nothing\n", "[Action]\n", "[Action]\nExec = x"} { // they mask others
		if h, err := parseHook("x.hook", []byte(text)); err != nil || h.triggers != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSplitWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                          nil,
		" \t ":                      nil,
		" a  b\tc ":                 {"a", "b", "c"},
		`'a b' "c d"`:               {"a b", "c d"},
		`a'b c'd"e f"`:              {"ab cde f"},
		`"" ''`:                     {"", ""},
		`\'a\" \x \`:                {`'a"`, `\x`, `\`},
		`'it\'s' "a \"b\" 'c'"`:     {"it's", `a "b" 'c'`},
		`'a\"b\\ '`:                 {`a\"b\\ `},
		`"$SIG{PIPE}='DEFAULT'; x"`: {"$SIG{PIPE}='DEFAULT'; x"},
	} {
		got, err := splitWords(text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q is %q (%v), want %q", text, got, err, want)
		}
	}
	for _, text := range []string{`'`, `a"b`, `'a\'`, `"'`} {
		if got, err := splitWords(text); err == nil {
			t.Errorf("%q is %q", text, got)
		}
	}
}

// Arch's own hooks, as they were in 2017, say what they are meant to say.
func TestRealHooks(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(alpmtest.Data(t, "hooks-2017"), "*.hook"))
	if err != nil || len(files) != 14 {
		t.Fatal(files, err)
	}
	type summary struct{ exec, targets, of string }
	got := make(map[string]summary)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		h, err := parseHook(filepath.Base(file), text)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		of := ""
		if h.after && h.triggers[0].install {
			of = "runs"
		}
		if h.needsTargets {
			of += " with targets"
		}
		got[strings.TrimSuffix(h.name, ".hook")] = summary{strings.Join(h.exec, "|"), strings.Join(h.triggers[0].targets, " "), of}
	}
	modules := "usr/src/*/dkms.conf usr/lib/modules/*/build/include/ usr/lib/modules/*/modules.alias"
	want := map[string]summary{
		"60-linux":                {"/usr/bin/depmod|4.14.9-1-ARCH", "usr/lib/modules/4.14.9-1-ARCH/* usr/lib/modules/extramodules-4.14-ARCH/*", "runs"},
		"70-dkms-install":         {"/usr/lib/dkms/alpm-hook|install", modules, "runs with targets"},
		"70-dkms-remove":          {"/usr/bin/perl|-e|$SIG{PIPE}='DEFAULT'; exec('/usr/lib/dkms/alpm-hook', 'remove');", modules, " with targets"},
		"90-linux":                {"/usr/bin/mkinitcpio|-p|linux", "boot/vmlinuz-linux usr/lib/initcpio/*", "runs"},
		"detect-old-perl-modules": {"/usr/share/libalpm/scripts/detect-old-perl-modules.sh", "usr/lib/perl5/*/", "runs"},
		"gio-querymodules":        {"/usr/bin/gio-querymodules|/usr/lib/gio/modules", "usr/lib/gio/modules/*.so", "runs"},
		"glib-compile-schemas":    {"/usr/bin/glib-compile-schemas|/usr/share/glib-2.0/schemas", "usr/share/glib-2.0/schemas/*.gschema.xml usr/share/glib-2.0/schemas/*.gschema.override", "runs"},
		"systemd-hwdb":            {"/usr/bin/systemd-hwdb|--usr|update", "usr/lib/udev/hwdb.d/*", "runs"},
		"systemd-sysusers":        {`/bin/sh|-c|while read -r f; do /usr/bin/systemd-sysusers "$(basename "$f")" ; done`, "usr/lib/sysusers.d/*.conf", "runs with targets"},
		"systemd-tmpfiles":        {`/bin/sh|-c|while read -r f; do /usr/bin/systemd-tmpfiles --create "$(basename "$f")"; done`, "usr/lib/tmpfiles.d/*.conf", "runs with targets"},
		"systemd-update":          {"/usr/bin/touch|-c|/usr", "usr/", "runs"},
		"texinfo-install":         {`/bin/sh|-c|while read -r f; do install-info "$f" /usr/share/info/dir 2> /dev/null; done`, "usr/share/info/*", "runs with targets"},
		"texinfo-remove":          {`/bin/sh|-c|while read -r f; do install-info --delete "$f" /usr/share/info/dir 2> /dev/null; done`, "usr/share/info/*", " with targets"},
		"update-ca-trust":         {"/usr/bin/update-ca-trust", "usr/share/ca-certificates/trust-source/*", "runs"},
	}
	if diff := gocmp.Diff(want, got, gocmp.AllowUnexported(summary{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// patterns and strings of which each is matched with each.
var (
	matchPatterns = []string{"", "*", "?", "a", "*a", "a*", "*a*", "a?c", "usr/lib/*", "usr/*/x", "*.so", "*.so*", "**", "*?*", "[abc]", "[!abc]", "[^a]", "[a-c]*",
		"[]]", "[!]]", "[]-a]", "[a-]", "[-a]", "[c-a]", "[", "[a", "a[", `\*`, `\a`, `a\`, `[\]]`, `[a\-c]`, "[[:alpha:]]", "[[:digit:]x]*", "[![:space:]]", "[[:upper:]",
		".*", "*/.*", "ü", "[ü]", "[a-ü]", "?.txt", "[/]", "a/b", "[.]x", "*[0-9]", "usr/lib/modules/*/vmlinuz", "*a*b*c*d*", "[!a-z]*"}
	matchStrings = []string{"", "a", "b", "c", "ab", "abc", "axc", "usr/lib/", "usr/lib/x", "usr/lib/x/y", "usr/share/x", "libx.so", "libx.so.1", "*", `\`, "]", "[", "[a", "-", "^", "!",
		".", ".x", "a/.x", "ü", "üb", "ü.txt", "/", "a/b", "5", "x5", " ", "A", "a\\", "usr/lib/modules/6.1/vmlinuz", "aXbXcXd", "abcd", "dcba", "\xff", "\xffa"}
)

// Patterns mean what they mean to the C library.
func TestFnmatch(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not installed")
	}
	in, err := json.Marshal([][]string{matchPatterns, quoteAll(matchStrings)})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "python3", "-c", `
import ctypes, json, locale, os, sys
locale.setlocale(locale.LC_ALL, "C.UTF-8")
c = ctypes.CDLL(None)
patterns, strings = json.load(sys.stdin)
print(json.dumps([[c.fnmatch(p.encode(), s.encode("latin-1"), 0) == 0 for s in strings] for p in patterns]))`)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var want [][]bool
	if err := json.Unmarshal(out, &want); err != nil {
		t.Fatal(err)
	}
	for i, pattern := range matchPatterns {
		for j, s := range matchStrings {
			if got := fnmatch(pattern, s); got != want[i][j] {
				t.Errorf("%q fits %q: %v, want %v", s, pattern, got, want[i][j])
			}
		}
	}
}

// quoteAll turns bytes into characters, so that JSON can hold them.
func quoteAll(all []string) []string {
	quoted := make([]string, len(all))
	for i, s := range all {
		for _, b := range []byte(s) {
			quoted[i] += string(rune(b))
		}
	}
	return quoted
}

func TestFnmatchOfMany(t *testing.T) {
	t.Parallel()
	if fnmatch(strings.Repeat("*a", 30)+"b", strings.Repeat("a", 100_000)) {
		t.Error("it fits")
	}
}

func TestMatchesAny(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		patterns []string
		s        string
		want     bool
	}{
		{nil, "x", false}, {[]string{"*"}, "x", true}, {[]string{"*", "!x"}, "x", false}, {[]string{"!x", "*"}, "x", true},
		{[]string{"!x"}, "y", false}, {[]string{`\!x`}, "!x", true}, {[]string{`\x`}, "x", true}, {[]string{"*", "!x*", "xy"}, "xy", true},
	} {
		if got := matchesAny(test.patterns, test.s); got != test.want {
			t.Errorf("%q of %q: %v", test.s, test.patterns, got)
		}
	}
}

func FuzzHook(f *testing.F) {
	f.Add([]byte("[Trigger]\nType = Path\nOperation = Install\nTarget = usr/*\n[Action]\nWhen = PostTransaction\nExec = /bin/x 'a b' \\\"\n"), "usr/x")
	f.Fuzz(func(t *testing.T, text []byte, name string) {
		h, err := parseHook("x.hook", text)
		if err != nil || h.triggers == nil {
			return
		}
		if len(h.exec) == 0 || h.triggers[0].targets == nil || h.triggers[0].kind == kindMissing {
			t.Fatalf("%q is %+v", text, h)
		}
		h.matches([]*pkg{{files: []string{name}}})
	})
}
