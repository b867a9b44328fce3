package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
	"ingot/internal/tree"
)

// emptied are directories whose content belongs to a running system, or to other media.
var emptied = []string{"dev", "media", "mnt", "proc", "sys", "run"}

// filters take away what must not be in an image, or is of no use in one. The first line is what ec2-bundle-vol
// filters, the others are ours.
const filters = `**/#*# **/.#* **/*.sw **/*.swo **/*.swp **/*~ **/*.pem **/*.priv **/*id_rsa* **/*id_dsa* **/*.gpg **/*.jks **/.ssh/authorized_keys **/.bash_history
**/*id_ecdsa* **/*id_ed25519* etc/ssh/ssh_host_* etc/ssl/private/** etc/pki/tls/private/** **/.gnupg/** **/.aws/credentials
**/.*_history **/.history **/.lesshst **/.viminfo **/.nfs*
etc/udev/rules.d/*-persistent-net.rules var/lib/cloud/** var/lib/dhcp/*.leases var/lib/dhclient/*.lease* var/lib/systemd/random-seed
tmp/** var/tmp/**`

// spared are what the filters would take away and an image needs: certificates of authorities, keys that packages are
// verified with, and what packages have brought.
const spared = `usr/share/** usr/lib/** usr/lib64/** usr/include/** etc/ssl/certs/** etc/ca-certificates/** etc/pki/ca-trust/** etc/pki/tls/certs/** etc/pki/tls/cert.pem
etc/pki/rpm-gpg/** etc/pki/product*/** etc/apt/trusted.gpg etc/apt/trusted.gpg.d/** etc/apt/keyrings/** etc/skel/**`

// pattern is a glob that somebody asked for, or that we have.
type pattern struct {
	tree.Glob
	text  string
	asked bool
	used  bool // it stands for something
}

type patterns []pattern

func (all *patterns) add(asked bool, texts ...string) error {
	for _, text := range texts {
		g, err := tree.ParseGlob(text)
		if err != nil {
			return err
		}
		*all = append(*all, pattern{Glob: g, text: text, asked: asked})
	}
	return nil
}

// match tells whether any of the patterns stands for a path.
func (all patterns) match(path string) bool {
	found := false
	for i := range all {
		if (!found || all[i].asked && !all[i].used) && all[i].Match(path) {
			found, all[i].used = true, true
		}
	}
	return found
}

// selection is what of a tree goes into the image.
type selection struct {
	src                   tree.Source
	exclude, filter, keep patterns
	empty                 map[string]bool // directories that are kept without their content
	filtered              int
	leftOut               []string
}

func newSelection(src *source, o *Options) (*selection, error) {
	s := &selection{src: src, empty: map[string]bool{}}
	err := errors.Join(s.exclude.add(true, o.Exclude...), s.keep.add(true, o.Include...), s.keep.add(false, strings.Fields(spared)...))
	if !o.Unfiltered {
		err = errors.Join(err, s.filter.add(false, strings.Fields(filters)...))
	}
	for _, dir := range emptied {
		s.empty[dir] = true
	}
	for _, m := range src.mounts {
		if rel, err := filepath.Rel(src.dir, m.point); err == nil && rel != "." && !o.All && !local[m.kind] {
			s.empty[rel] = true
		}
	}
	// The image itself may come into being below the tree.
	folder, e := realPath(filepath.Dir(o.Image))
	rel, outside := filepath.Rel(src.dir, filepath.Join(folder, filepath.Base(o.Image)))
	if src.dir != "" && outside == nil && filepath.IsLocal(rel) {
		for _, name := range []string{rel, rel + ".tmp"} {
			s.exclude = append(s.exclude, pattern{Glob: strings.Split(name, "/")})
		}
	}
	return s, errors.Join(err, e)
}

// entries walks what is selected. A pattern that stands for nothing is an error: it was meant to.
func (s *selection) entries(ctx context.Context) ([]tree.Entry, error) {
	var all []tree.Entry
	err := s.src.Walk(ctx, func(e tree.Entry) error {
		isDir := e.Mode&unix.S_IFMT == unix.S_IFDIR
		kept := s.keep.match(e.Path)
		switch {
		case s.exclude.match(e.Path):
		case !kept && s.filter.match(e.Path) && !(isDir && s.leads(e.Path)):
			s.filtered++
		default:
			if all = append(all, e); !isDir || !s.empty[e.Path] {
				return nil
			}
			s.leftOut = append(s.leftOut, "/"+e.Path)
		}
		if isDir {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, p := range append(s.exclude, s.keep...) {
		if p.asked && !p.used {
			return nil, fault.New(fault.Usage, fmt.Errorf("%s stands for nothing in it", p.text), "name files and directories from the root of what is bundled")
		}
	}
	return all, nil
}

// leads tells whether something that is to be kept may be below a directory.
func (s *selection) leads(dir string) bool {
	return slices.ContainsFunc(s.keep, func(p pattern) bool { return p.asked && strings.HasPrefix(strings.Join(p.Glob, "/"), dir+"/") })
}
