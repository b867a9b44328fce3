// Package distro is what makes a distribution an EC2 image. The facts are data in a package for each
// distribution; this package holds what they share: the contract with the builder, and the customisation
// that a recipe asks for in the same words whatever the distribution.
package distro

import (
	"context"
	"slices"
	"time"

	"ingot/internal/disk"
	"ingot/internal/disk/ext4"
	"ingot/internal/fetch"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/recipe"
)

// Distribution turns recipes into locks, and locks into bootable trees.
type Distribution interface {
	// Defaults fills what the recipe leaves to the distribution (disk, firmware, user). It refuses a release
	// or an architecture that the distribution does not have.
	Defaults(r *recipe.Recipe) error
	// Asked is the digest of everything that Resolve's answer depends on, but for the indexes: a lock with
	// another one is out of date.
	Asked(r *recipe.Recipe) string
	// Resolve chooses every package file of the image from the repositories' signed indexes.
	Resolve(ctx context.Context, rq Request) (*lock.Lock, error)
	// Mirrors returns where the files of each of a lock's repositories are.
	Mirrors(r *recipe.Recipe) map[string][]string
	// Install makes the tree: packages, the distribution's EC2 settings, the recipe's own, and nothing
	// that must not be in an image. b.Root does not exist yet, or is an empty directory.
	Install(ctx context.Context, b Build) error
	// Boot returns what the firmware starts, made from the tree's own boot loader.
	Boot(ctx context.Context, b Build) (*Boot, error)
	// Login is how a boot test, and whoever reads the catalogue, gets in.
	Login(r *recipe.Recipe) Login
}

// Request is a question to the repositories.
type Request struct {
	Recipe *recipe.Recipe
	Fetch  *fetch.Client
	Now    time.Time // indexes that have expired by then are refused
	// Previous keeps every package at the version of this lock as long as the repositories have it and
	// nothing needs another one, but for those named in Upgrade; nil resolves everything anew.
	Previous *lock.Lock
	Upgrade  []string
	// Replaces is the lock in whose place the answer comes, nil for none. Where indexes are not signed, no package may be
	// older than there.
	Replaces *lock.Lock
	Progress *progress.Reporter

	Cache   string // ingot's cache folder, for packages that have to be built
	Version string // digest of this program
}

// Maker is a distribution whose locks may have packages that no mirror has, in the repository [lock.Built].
type Maker interface {
	// Make builds those of the lock that are not in the cache of downloads, just as they were built when it was written.
	Make(ctx context.Context, rq Request, l *lock.Lock) error
}

// Extender is a distribution whose finished images can get kernel modules.
type Extender interface {
	// ResolveModules returns the lock of an image with those of the recipe's modules that are for its kernel.
	ResolveModules(ctx context.Context, rq Request, l *lock.Lock) (*lock.Lock, error)
	// AddModules builds those modules of the lock that the recipe has, and puts them into the image's finished tree.
	AddModules(ctx context.Context, b Build) error
}

// OwnModules returns those modules of a lock that the recipe names: an image that gets modules may have others already.
func OwnModules(l *lock.Lock, r *recipe.Recipe) []lock.Module {
	return slices.DeleteFunc(slices.Clone(l.Modules), func(m lock.Module) bool {
		return !slices.ContainsFunc(r.Modules, func(own recipe.Module) bool { return own.Name == m.Name })
	})
}

// Build is one tree in the making.
type Build struct {
	Recipe   *recipe.Recipe
	Lock     *lock.Lock
	Root     string                    // of the tree
	Identity disk.Identity             // of the disk it goes onto
	Package  func(lock.Package) string // the verified file of a package
	Source   func(lock.Source) string  // the verified file of a module's source or patch
	Expanded string                    // cache of expanded packages; "" for none
	Task     *progress.Task
}

// Login is how a user gets into a fresh instance.
type Login struct {
	User   string
	OldSSH bool // the server is from before 2014, and knows only what is given up today
}

// Boot is what stands outside the root filesystem, and what the filesystem has to be like for it.
type Boot struct {
	BootImage []byte         // GRUB's boot.img for BIOS; nil without BIOS support
	CoreImage []byte         // GRUB's core.img for BIOS
	Legacy    *disk.BootSpec // GRUB legacy in place of the two
	ESP       []disk.ESPFile

	Label   string // of the root filesystem; "root" if empty
	Profile ext4.Profile
}
