package pipeline

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"ingot/internal/bundle"
	"ingot/internal/fault"
	"ingot/internal/hold"
	"ingot/internal/progress"
	"ingot/internal/publish"
)

// bundleFolder is where an artifact's bundles are, in a folder for each EC2 that can open them.
const bundleFolder = "bundle"

// BundleOptions say how an artifact is bundled, and where the bundle goes.
type BundleOptions struct {
	Key         *rsa.PrivateKey // the user's
	Certificate func(region string) (*bundle.Certificate, error)
	Bucket      string // may hold {region} and {account}
	Create      bool   // make buckets where there are none
}

// bundled is what a bundle was made from: the same again is not made again.
type bundled struct {
	Disk    string `json:"disk"` // SHA-256
	Account string `json:"account"`
	Key     string `json:"key"`   // SHA-256 of the user's public key
	Cloud   string `json:"cloud"` // SHA-1 of EC2's certificate
}

// Bundle bundles the artifact's disk for an account, and for the EC2 of a certificate, unless it has been, and returns the
// path of the manifest.
func (f *Foundry) Bundle(ctx context.Context, a *Artifact, account string, key *rsa.PrivateKey, cloud *bundle.Certificate) (_ string, err error) {
	user := sha256.Sum256(x509.MarshalPKCS1PublicKey(&key.PublicKey))
	want := bundled{a.Manifest.Disk, account, hex.EncodeToString(user[:]), cloud.Fingerprint}
	dir := filepath.Join(a.Dir, bundleFolder, strings.ToLower(strings.ReplaceAll(cloud.Fingerprint, ":", ""))[:12])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("bundling: %w", err)
	}
	release, err := hold.File(ctx, filepath.Join(dir, ".lock"), nil)
	if err != nil {
		return "", err
	}
	defer release()
	manifest, state := filepath.Join(dir, bundle.ManifestName(a.Manifest.Name)), filepath.Join(dir, stateFile)
	var have bundled
	if readJSON(state, &have) == nil && have == want && exists(manifest) {
		return manifest, nil
	}
	if err := os.Remove(state); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	image, file, err := bundle.OpenImage(a.Disk())
	if err != nil {
		return "", err
	}
	defer file.Close()
	if image.Stored() == 0 { // it stands for a disk that is on another machine, and no map is asked here
		return "", fault.Newf(fault.Input, "bundling %s: its disk is not on this machine", a.Manifest.Name)
	}
	task := f.Progress.Begin("bundle "+a.Manifest.Name, image.Stored(), progress.Bytes)
	_, err = bundle.Create(ctx, image, bundle.Options{Dir: dir, Prefix: a.Manifest.Name, Replace: true, User: account, Key: key, EC2: cloud.PublicKey,
		Architecture: a.Manifest.Arch, BlockDevices: []bundle.BlockDevice{{Virtual: "ami", Device: "sda1"}, {Virtual: "root", Device: "/dev/sda1"}}}, task)
	if task.End(err); err != nil {
		return "", err
	}
	return manifest, writeJSON(state, want)
}

// store says where an instance store-backed image of the artifact is registered from. Regions share bundles; region is one
// of them.
func (f *Foundry) store(ctx context.Context, a *Artifact, o *PublishOptions, region, folder string) (*publish.Store, error) {
	b := o.Bundle
	if b.Key == nil {
		return nil, fault.New(fault.Usage, errors.New("an instance store-backed image is signed with your private key, and none is given"), "name it with --key; `ingot bundle keygen` makes one")
	}
	if b.Bucket == "" {
		return nil, fault.New(fault.Usage, errors.New("an instance store-backed image lives in a bucket, and none is named"), "name it with --bucket, or in publish: of the recipe")
	}
	account, err := o.Clients.Account(ctx, region)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex // one bundling at a time, and one for all regions of a partition
	manifest := func(ctx context.Context, region string) (string, error) {
		cloud, err := b.Certificate(region)
		if err != nil {
			return "", err
		}
		mu.Lock()
		defer mu.Unlock()
		return f.Bundle(ctx, a, account, b.Key, cloud)
	}
	return &publish.Store{Manifest: manifest, Bucket: strings.ReplaceAll(b.Bucket, "{account}", account), Folder: folder, Create: b.Create}, nil
}
