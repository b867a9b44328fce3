package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/renameio/v2"

	"ingot/internal/disk"
	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/recipe"
	"ingot/internal/tree"
)

// LogFile is where whoever runs a build keeps its log, in the artifact's folder.
const LogFile = "build.log"

// The other files of an artifact, in its folder.
const (
	diskFile     = "disk.raw"
	qcow2File    = "disk.qcow2"
	mapFile      = "disk.blocks.json"
	lockFile     = "lock.json"
	manifestFile = "manifest.json"
	sbomFile     = "sbom.spdx.json"
	auditFile    = "audit.json"
	stateFile    = ".state.json"
	bootFolder   = "boot"
)

// Manifest says what an artifact is. The same inputs give the same manifest.
type Manifest struct {
	Version     int             `json:"version"`
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Distro      string          `json:"distro"`
	Release     string          `json:"release,omitempty"`
	Arch        string          `json:"arch"` // as EC2 spells it
	Date        time.Time       `json:"date"` // the lock's
	Firmware    recipe.Firmware `json:"firmware"`
	User        string          `json:"user"`              // the login
	OldSSH      bool            `json:"old_ssh,omitempty"` // its SSH server knows only what is given up today
	VolumeSize  int             `json:"volume_size"`       // GiB at launch
	Recipe      string          `json:"recipe"`            // digest, as are the next ones: SHA-256 in hexadecimal
	Lock        string          `json:"lock"`
	Builder     string          `json:"builder"`
	Disk        string          `json:"disk"` // of the raw image
	DiskSize    int64           `json:"disk_size"`
	Blocks      int             `json:"blocks"`        // of 512 KiB, that mean something
	ENA         bool            `json:"ena,omitempty"` // every kernel has the driver of EC2's Elastic Network Adapter
	PublicOK    bool            `json:"public_ok"`     // the hygiene audit found nothing that forbids publishing
	Packages    []Package       `json:"packages"`      // in byte order of their names
	Modules     []Module        `json:"modules,omitempty"`
}

// Module is a kernel module of an image that no package brought.
type Module struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"` // that it says it has
	Kernel  string `json:"kernel"`            // the version of the kernel that it is for
	SHA256  string `json:"sha256"`            // of the archive that it was built from
}

// Package is one package of an image.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	Source  string `json:"source,omitempty"`
}

// Artifact is a finished build in its folder.
type Artifact struct {
	Dir      string
	Manifest Manifest
}

// Disk is the path of the raw image.
func (a *Artifact) Disk() string { return filepath.Join(a.Dir, diskFile) }

// Map reads the block map.
func (a *Artifact) Map() (*disk.Map, error) {
	f, err := os.Open(filepath.Join(a.Dir, mapFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return disk.DecodeMap(f)
}

// Lock reads the lock that the image was made from.
func (a *Artifact) Lock() (*lock.Lock, error) { return lock.Read(filepath.Join(a.Dir, lockFile)) }

// Findings reads what the hygiene audit found.
func (a *Artifact) Findings() ([]tree.Finding, error) {
	var f []tree.Finding
	return f, readJSON(filepath.Join(a.Dir, auditFile), &f)
}

// OpenArtifact opens the folder of a finished build.
func OpenArtifact(dir string) (*Artifact, error) {
	a := &Artifact{Dir: dir}
	if err := readJSON(filepath.Join(dir, manifestFile), &a.Manifest); err != nil {
		if os.IsNotExist(err) || errors.Is(err, syscall.ENOTDIR) {
			return nil, fault.New(fault.Missing, fmt.Errorf("%s holds no finished image", dir), "make one with `ingot build`")
		}
		return nil, err
	}
	if a.Manifest.Version != 1 {
		return nil, fault.Newf(fault.Input, "%s: manifest of version %d, this program reads 1", dir, a.Manifest.Version)
	}
	return a, nil
}

// state is what a rerun compares to know that nothing has to be done. It is no part of the artifact.
type state struct {
	Inputs string    `json:"inputs"` // digest of recipe, lock and builder
	Size   int64     `json:"size"`   // of the raw image, and its time of modification
	Time   time.Time `json:"time"`
}

// current says whether the folder holds what inputs would make, untouched.
func current(dir, inputs string) bool {
	var s state
	if readJSON(filepath.Join(dir, stateFile), &s) != nil || s.Inputs != inputs {
		return false
	}
	info, err := os.Stat(filepath.Join(dir, diskFile))
	return err == nil && info.Size() == s.Size && info.ModTime().Equal(s.Time)
}

// seal records that the folder is complete.
func seal(dir, inputs string) error {
	info, err := os.Stat(filepath.Join(dir, diskFile))
	if err != nil {
		return err
	}
	return writeJSON(filepath.Join(dir, stateFile), state{inputs, info.Size(), info.ModTime()})
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fault.Newf(fault.Input, "reading %s: %w", path, err)
	}
	return nil
}

// writeJSON writes indented JSON, whole or not at all.
func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return renameio.WriteFile(path, append(data, '\n'), 0o644)
}
