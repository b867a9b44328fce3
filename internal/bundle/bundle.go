// Package bundle makes and opens the bundles behind instance store-backed AMIs: a raw image as a tar stream,
// compressed, encrypted, cut into parts, and described by a signed manifest.
//
//	image → tar (one member) → SHA-1 → gzip → AES-128-CBC → parts of 10 MiB, each with its SHA-1
//
// What is written follows ec2-ami-tools 1.5, down to the bytes of the tar header and of the manifest (version
// 2007-10-10). What is read may also come from euca2ools, or carry an older version. SHA-1 and PKCS#1 v1.5 are
// what the format prescribes; nothing here should be copied into a new one.
//
// Everything passes through once, with bounded memory and without a temporary copy of the image.
package bundle

const (
	// MaxImageSize is the largest image EC2 starts from instance store, in bytes.
	MaxImageSize = 10 << 30
	// PartSize is how long every part but the last is, in bytes.
	PartSize = 10 << 20

	maxManifest = 4 << 20 // bytes; a manifest of a 10 GiB image has about 150 KB
	maxParts    = 1 << 14
)
