package install

import (
	"archive/tar"
	"strings"
	"testing"
	"time"

	"ingot/internal/alpm/alpmtest"
)

// note is a line of shell that adds to a log in the tree.
func note(what string) string { return "echo \"" + what + "\" >> /var/log/notes\n" }

// scripts are the functions of an .INSTALL.
func scripts(pre, post string) string {
	text := "post_upgrade() {\n  " + note("never") + "}\n"
	if pre != "" {
		text += "pre_install() {\n" + pre + "}\n"
	}
	if post != "" {
		text += "post_install() {\n" + post + "}\n"
	}
	return text
}

// capability is cap_net_raw as security.capability has it.
const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// filesOfAllKinds are packages without scripts.
func filesOfAllKinds() []alpmtest.Package {
	a := alpmtest.Pack("a", "backup = etc/a.conf\nbackup = etc/missing\nbackup = etc/hard\nbackup = etc/link\nbackup = usr/share\n", "etc/a.conf", "usr/lib/x")
	a.Link("lib", "usr/lib")
	a.Link("etc/link", "a.conf")
	a.Link("dangling", "/nothing/here")
	a.Dir("shared", 0o700)
	a.Dir("empty", 0o1777)
	a.Dir("usr/share", 0o755)
	a.Add("usr/share/a name with\tblanks #=\\ and ü", "odd", 0o644)
	a.Add("usr/share/-dash", "", 0o400)
	a.Put(tar.Header{Typeflag: tar.TypeReg, Name: "usr/bin/suid", Mode: 0o6755, Uid: 3, Gid: 4, ModTime: time.Unix(1.6e9, 123456789), PAXRecords: map[string]string{
		"SCHILY.xattr.security.capability": capability, "SCHILY.xattr.user.note": "hello",
		"SCHILY.xattr.system.posix_acl_access": "nonsense", "SCHILY.acl.access": "user::rwx,user:5:r-x,group::r-x,mask::r-x,other::r-x",
	}}, "suid")
	a.Put(tar.Header{Typeflag: tar.TypeLink, Name: "usr/bin/hard", Linkname: "usr/bin/suid", Mode: 0o755}, "")
	a.Put(tar.Header{Typeflag: tar.TypeLink, Name: "etc/hard", Linkname: "etc/a.conf", Mode: 0o755}, "")
	a.Put(tar.Header{Typeflag: tar.TypeSymlink, Name: "owned", Linkname: "usr", Uid: 5, Gid: 6, Mode: 0o777}, "")
	a.Put(tar.Header{Typeflag: tar.TypeDir, Name: "home/somebody/", Uid: 1000, Gid: 1000, Mode: 0o2750}, "")
	a.Changelog = "0.1: first\n"

	// Directories that b has not are made for its files; c, which has them, comes too late.
	b := alpmtest.Pack("b", "depend = a\ngroup = base\ngroup = other\nlicense = GPL\nprovides = virtual=2\nconflict = d<2\nreplaces = e\n"+
		"optdepend = c: with: colons\noptdepend = x\nxdata = pkgtype=pkg\n")
	b.NoMtree = true
	for _, name := range []string{"opt/implied/file", "shared/mine", "usr/share/b"} {
		b.Members = append(b.Members, alpmtest.Member{Header: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600}, Content: name})
	}
	c := alpmtest.Pack("c", "depend = b\n")
	c.Dir("opt", 0o711)
	c.Dir("shared", 0o755)
	c.Dir("opt/own", 0o2711)
	c.Dir("usr", 0o700)
	meta := alpmtest.Pack("meta", "depend = c\n")
	meta.Version = "2:1.0_beta+1-3.1"
	old := alpmtest.Pack("pacman", "depend = meta\n") // that knows nothing of xdata
	old.Version = "6.0.2-5"
	return []alpmtest.Package{a, b, c, meta, old}
}

// What scripts do, and what they find.
func withScripts(t *testing.T) []alpmtest.Package {
	early := alpmtest.Pack("early", "", "usr/share/early")
	early.Install = scripts(note("no shell yet"), note("still none"))
	base := alpmtest.Base(t)
	base[0].Info += "depend = early\n"

	one := alpmtest.Pack("one", "depend = bash\ndepend = coreutils\nbackup = etc/one\n", "etc/one", "usr/share/one")
	one.Install = scripts(
		note("pre_install $#:$1 $(ls /usr/share | while read x; do echo $x; done)")+"return 3\n",
		note("post_install $#:$1 $(ls /usr/share /var/lib/pacman/local/one* | while read x; do echo $x; done)")+"read x; "+note("stdin $?:$x")+
			"umask > /var/log/umask\ncat /var/lib/pacman/local/one-1-1/desc | { read a; echo $a; } >> /var/log/notes\n")
	// A function that is named in a comment only is none; one that is named anywhere else is called, there or not.
	two := alpmtest.Pack("two", "depend = one\n", "usr/share/two")
	two.Install = "# post_install() {\nhelper() { " + strings.TrimSpace(note("helped")) + "; }\npre_install() {\n helper\n}\n"
	three := alpmtest.Pack("three", "depend = two\n", "usr/share/three")
	three.Install = "echo post_installed > /var/log/three\n" + note("sourced")
	broken := alpmtest.Pack("broken", "depend = three\n", "usr/share/broken")
	broken.Install = "post_install() {\n if\n"
	killed := alpmtest.Pack("killed", "depend = broken\n", "usr/share/killed")
	killed.Install = scripts("", note("goes")+"kill -9 $$\n")
	last := alpmtest.Pack("last", "depend = killed\n", "usr/share/last")
	return append([]alpmtest.Package{early}, append(base, one, two, three, broken, killed, last)...)
}

// Scriptlets that make files before packages bring them.
func withFilesMadeBefore(t *testing.T) []alpmtest.Package {
	maker := alpmtest.Pack("maker", "depend = bash\ndepend = coreutils\n", "usr/share/maker")
	maker.Install = scripts("", `
mkdir -p /etc/d /srv/dir /srv/realdir
echo mine > /etc/changed
echo "of owner" > /etc/same
chmod 600 /etc/same
echo mine > /etc/plain
ln -s maker /usr/share/link
ln -s realdir /srv/aslink
ln -s nowhere /srv/dangling
echo mine > /srv/file
echo mine > /etc/hard
ln -s same /etc/linked
`)
	owner := alpmtest.Pack("owner", "depend = maker\nbackup = etc/changed\nbackup = etc/same\nbackup = etc/hard\nbackup = etc/linked\n",
		"etc/changed", "etc/same", "etc/plain", "etc/linked", "usr/share/link")
	owner.Dir("srv/dir", 0o700)
	owner.Dir("srv/aslink", 0o711)
	owner.Dir("srv/dangling", 0o711)
	owner.Add("srv/file", "of owner", 0o640)
	owner.Put(tar.Header{Typeflag: tar.TypeLink, Name: "etc/hard", Linkname: "etc/plain"}, "")
	return append(alpmtest.Base(t), maker, owner)
}

// hookText is a hook's file.
func hookText(action string, triggers ...string) string {
	return strings.Join(triggers, "") + "[Action]\nWhen = PostTransaction\n" + action
}

func triggerText(kind string, targets ...string) string {
	text := "[Trigger]\n  # of a trigger\n Type=" + kind + "\nOperation = Install\nOperation = Upgrade\n"
	for _, target := range targets {
		text += "Target = " + target + "\n"
	}
	return text
}

func withHooks(t *testing.T) []alpmtest.Package {
	base := alpmtest.Base(t)
	const dir = "usr/share/libalpm/hooks/"
	p := alpmtest.Pack("hooks", "depend = bash\ndepend = coreutils\nprovides = made=3\n", "usr/share/x/one.so", "usr/share/x/two.so", "usr/share/x/three.txt", "usr/share/x/.dot")
	log := func(name string) string {
		return "Exec = /bin/sh -c 'echo " + name + " >> /var/log/hooks; while read -r x; do echo \" $x\" >> /var/log/hooks; done'\n"
	}
	add := func(name, text string) { p.Add(dir+name, text, 0o644) }
	add("50-paths.hook", hookText("NeedsTargets\nDescription = Of paths\n"+log("paths"),
		triggerText("Path", "usr/share/x/*", "!usr/share/x/t*", "usr/share/x/two*", "usr/"), triggerText("File", "usr/share/x/?ne.s[a-o]")))
	add("50-paths.d.hook", hookText("NeedsTargets\n"+log("name with a dot"), triggerText("Package", "*", "!b*", "bas?", `\!x`)))
	add("50.hook", hookText(log("short name"), triggerText("Package", "bash")))
	add("10-no-targets.hook", hookText(log("without targets"), triggerText("Path", "*.so")))
	add("10-remove.hook", hookText(log("remove"), "[Trigger]\nType = Package\nOperation = Remove\nTarget = *\n"))
	add("10-never.hook", hookText(log("never"), triggerText("Path", "nothing/*")))
	add("10-before.hook", strings.Replace(hookText(log("before"), triggerText("Package", "*")), "PostT", "PreT", 1))
	add("20-depends.hook", hookText("Depends = made>2\nDepends = bash\n"+log("depends"), triggerText("Package", "bash")))
	add("20-unmet.hook", hookText("Depends = made>3\n"+log("unmet"), triggerText("Package", "bash")))
	add("30-words.hook", hookText(`Exec = /bin/sh -c "for x in \"\$@\"; do echo \"<\$x>\" >> /var/log/hooks; done" sh a 'b  c' d\'e "f\"g\'h" i\j '' "k"l'm' 	n`+"\n", triggerText("Package", "bash")))
	add("40-masked.hook", hookText(log("masked"), triggerText("Package", "bash")))
	add("40-empty.hook", hookText(log("masked by an empty file"), triggerText("Package", "bash")))
	add("40-override.hook", hookText(log("overridden"), triggerText("Package", "bash")))
	add("README", "no hook")
	p.Dir(dir+"directory.hook", 0o755)
	p.Link("etc/pacman.d/hooks/40-masked.hook", "/dev/null")
	p.Add("etc/pacman.d/hooks/40-empty.hook", "", 0o644)
	p.Add("etc/pacman.d/hooks/40-override.hook", hookText("AbortOnFail\n"+log("override"), triggerText("Package", "bash")), 0o644)
	p.Add("etc/pacman.d/hooks/60-own.hook", hookText("NeedsTargets\n"+log("own"), triggerText("Path", "etc/pacman.d/*")), 0o644)
	p.Link(dir+"70-link.hook", "../elsewhere")
	p.Add("usr/share/libalpm/elsewhere", hookText(log("linked"), triggerText("Package", "bash")), 0o644)
	return append(base, p)
}

// The tree equals pacman's, in every file, the database's included.
func TestEqualsPacman(t *testing.T) {
	for name, all := range map[string][]alpmtest.Package{
		"files":   filesOfAllKinds(),
		"scripts": withScripts(t),
		"before":  withFilesMadeBefore(t),
		"hooks":   withHooks(t),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			theirs, said := pacmanTree(t, all)
			ours := mustInstall(t, all, nil)
			sameTree(t, ours.root, theirs)
			if t.Failed() {
				t.Logf("ours said:\n%s\npacman said:\n%s", strings.Join(ours.said, "\n"), said)
			}
		})
	}
}
