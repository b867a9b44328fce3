// Package pipeline holds the steps from a recipe to a release, each an ordinary function that can be run
// again: it finds what is done already and does the rest.
package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"ingot/internal/distro"
	"ingot/internal/distro/arch"
	"ingot/internal/distro/centos"
	"ingot/internal/distro/debian"
	"ingot/internal/fetch"
	"ingot/internal/progress"
	"ingot/internal/recipe"
)

// Foundry is what the steps share.
type Foundry struct {
	Cache    string // folder of what can be made or fetched again
	Fetch    *fetch.Client
	Progress *progress.Reporter
	Now      func() time.Time
}

// distributions by the name that recipes use.
var distributions = map[string]func() distro.Distribution{
	"arch":   func() distro.Distribution { return arch.New() },
	"centos": func() distro.Distribution { return centos.New() },
	"debian": func() distro.Distribution { return debian.New() },
}

// Distribution returns the recipe's distribution, and fills what the recipe leaves to it.
func Distribution(r *recipe.Recipe) (distro.Distribution, error) {
	make, ok := distributions[r.Distro]
	if !ok {
		return nil, r.Refuse("distro", "%q is not known here; known: %s", r.Distro, strings.Join(slices.Sorted(maps.Keys(distributions)), ", "))
	}
	d := make()
	if err := d.Defaults(r); err != nil {
		return nil, err
	}
	return d, nil
}

// Builder identifies the program that builds: an image is a function of its recipe, its lock and this.
var Builder = sync.OnceValues(func() (string, error) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("reading this program: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("reading this program: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
})

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
