// Package recipe reads what an image is to be: YAML, strict, with errors that point at line and column.
//
// A recipe holds no secrets and no facts that belong to a distribution; those are data of
// internal/distro. [Load] resolves includes, variables and the matrix, and returns one [Recipe] for each
// image.
package recipe

import "time"

// Recipe is one image, after includes, variables and the matrix have been resolved.
type Recipe struct {
	Name         string         `yaml:"name" json:"name" jsonschema:"required,pattern=^[a-z0-9][a-z0-9._-]{0\\,62}$,description=Name of the image; part of file names and AMI names"`
	Description  string         `yaml:"description,omitempty" json:"description,omitempty" jsonschema:"maxLength=255,description=One line for people; becomes the AMI's description"`
	Distro       string         `yaml:"distro" json:"distro" jsonschema:"required,minLength=1,description=The distribution: debian\\, arch or centos"`
	Release      string         `yaml:"release,omitempty" json:"release,omitempty" jsonschema:"description=The distribution's release\\, such as bookworm; rolling distributions have none"`
	Arch         string         `yaml:"arch,omitempty" json:"arch,omitempty" jsonschema:"enum=x86_64,enum=arm64,description=Architecture as EC2 spells it (default x86_64)"`
	Mirrors      []string       `yaml:"mirrors,omitempty" json:"mirrors,omitempty" jsonschema:"description=Base URLs of the distribution's main repository; tried in order. Default: the distribution's own"`
	Keys         []Key          `yaml:"keys,omitempty" json:"keys,omitempty" jsonschema:"description=OpenPGP keys that may vouch for the distribution's packages. Default: the distribution's own"`
	Trust        Trust          `yaml:"trust,omitempty" json:"trust,omitzero"`
	Repositories []Repository   `yaml:"repositories,omitempty" json:"repositories,omitempty" jsonschema:"description=Further repositories\\, beside the distribution's own"`
	Packages     Packages       `yaml:"packages,omitempty" json:"packages,omitzero"`
	AUR          []AURPackage   `yaml:"aur,omitempty" json:"aur,omitempty" jsonschema:"description=Arch: packages to build from PKGBUILDs\\, in a sandbox; they stand above all repositories"`
	Modules      []Module       `yaml:"modules,omitempty" json:"modules,omitempty" jsonschema:"description=CentOS: kernel modules to build from source\\, for the image's own kernel"`
	Users        []User         `yaml:"users,omitempty" json:"users,omitempty"`
	Files        []File         `yaml:"files,omitempty" json:"files,omitempty"`
	Scripts      []Script       `yaml:"scripts,omitempty" json:"scripts,omitempty" jsonschema:"description=Run in the sandbox\\, in order\\, when all packages are installed"`
	Kernel       Kernel         `yaml:"kernel,omitempty" json:"kernel,omitzero"`
	Disk         Disk           `yaml:"disk,omitempty" json:"disk,omitzero"`
	CloudInit    map[string]any `yaml:"cloud-init,omitempty" json:"cloud-init,omitempty" jsonschema:"description=Settings for cloud-init\\, written to /etc/cloud/cloud.cfg.d"`
	Test         Test           `yaml:"test,omitempty" json:"test,omitzero"`
	Publish      Publish        `yaml:"publish,omitempty" json:"publish,omitzero"`
	Retain       Retain         `yaml:"retain,omitempty" json:"retain,omitzero"`
	Schedule     Schedule       `yaml:"schedule,omitempty" json:"schedule,omitzero"`

	// Dir is the folder of the recipe's file: relative paths in it start there.
	Dir string `yaml:"-" json:"-"`
	// Path is the recipe's file, for messages.
	Path string `yaml:"-" json:"-"`
	// Set is what --set and the matrix chose for this image, for messages and names.
	Set map[string]string `yaml:"-" json:"-"`

	source  *node    `yaml:"-"` // what it was read from
	written []string `yaml:"-"` // files of the recipe: Path, and those that it includes
}

// Key is an OpenPGP public key that may vouch for packages.
type Key struct {
	Fingerprint string `yaml:"fingerprint" json:"fingerprint" jsonschema:"required,pattern=^[0-9A-Fa-f ]{40\\,50}$,description=The primary key's full fingerprint"`
	File        string `yaml:"file,omitempty" json:"file,omitempty" jsonschema:"description=File with the key\\, armored or binary\\, relative to the recipe; not needed for keys that ingot carries"`
}

// Trust loosens what signatures must be like, for a reason that is part of the recipe.
type Trust struct {
	SHA1        Allowed `yaml:"sha1,omitempty" json:"sha1,omitempty" jsonschema:"enum=allow,description=RPM: signatures and checksums over SHA-1\\, which can be forged with much effort\\, count too"`
	ExpiredKeys Allowed `yaml:"expired-keys,omitempty" json:"expired-keys,omitempty" jsonschema:"enum=allow,description=RPM: packages that were signed while a key was valid stay trusted when it has expired"`
	Reason      string  `yaml:"reason,omitempty" json:"reason,omitempty" jsonschema:"minLength=1,description=Why; required with any of the others"`
}

// Allowed is "allow", or nothing.
type Allowed string

// reason returns why something is allowed; empty where it is not.
func (a Allowed) reason(t Trust) string {
	if a == "" {
		return ""
	}
	return t.Reason
}

// SHA1Reason returns the reason for which SHA-1 counts; empty where it does not.
func (t Trust) SHA1Reason() string { return t.SHA1.reason(t) }

// ExpiredReason returns the reason for which keys count that have expired since; empty where they do not.
func (t Trust) ExpiredReason() string { return t.ExpiredKeys.reason(t) }

// Repository is a source of packages beside the distribution's own.
type Repository struct {
	Name       string   `yaml:"name" json:"name" jsonschema:"required,pattern=^[a-z0-9][a-z0-9.-]*$"`
	Mirrors    []string `yaml:"mirrors" json:"mirrors" jsonschema:"required,minItems=1,description=Base URLs\\, tried in order"`
	Suite      string   `yaml:"suite,omitempty" json:"suite,omitempty" jsonschema:"description=Debian: the folder below dists/"`
	Components []string `yaml:"components,omitempty" json:"components,omitempty" jsonschema:"description=Debian: default main"`
	First      bool     `yaml:"first,omitempty" json:"first,omitempty" jsonschema:"description=Arch: stands above the distribution's own repositories\\, so that its packages win"`
	Signatures Signed   `yaml:"signatures,omitempty" json:"signatures,omitempty" jsonschema:"enum=packages,enum=all,description=Arch: what must be signed\\, the packages (default) or the database too"`
	Keys       []Key    `yaml:"keys" json:"keys" jsonschema:"required,minItems=1,description=OpenPGP keys that may vouch for this repository alone"`
}

// Signed says which files of a repository must be signed.
type Signed string

const (
	SignedPackages Signed = "packages"
	SignedAll      Signed = "all"
)

// Packages says what to install beside what the distribution's facts ask for.
type Packages struct {
	Include    []string `yaml:"include,omitempty" json:"include,omitempty" jsonschema:"description=Packages to add; name or name=version"`
	Exclude    []string `yaml:"exclude,omitempty" json:"exclude,omitempty" jsonschema:"description=Packages of the distribution's default set to leave out"`
	Recommends bool     `yaml:"recommends,omitempty" json:"recommends,omitempty" jsonschema:"description=Also install what packages recommend (default false)"`
}

// User is a login made when the image is built.
type User struct {
	Name   string   `yaml:"name" json:"name" jsonschema:"required,pattern=^[a-z_][a-z0-9_-]{0\\,31}$"`
	UID    int      `yaml:"uid,omitempty" json:"uid,omitempty" jsonschema:"minimum=1,maximum=65533,description=Default: the next free one"`
	Groups []string `yaml:"groups,omitempty" json:"groups,omitempty"`
	Shell  string   `yaml:"shell,omitempty" json:"shell,omitempty" jsonschema:"description=Default /bin/bash"`
	Sudo   bool     `yaml:"sudo,omitempty" json:"sudo,omitempty" jsonschema:"description=May use sudo without a password"`
}

// File is a file, directory or link put into the image; exactly one of Content, Source, Link and Directory is set.
type File struct {
	Path      string  `yaml:"path" json:"path" jsonschema:"required,pattern=^/"`
	Content   *string `yaml:"content,omitempty" json:"content,omitempty" jsonschema:"description=The file's text"`
	Source    string  `yaml:"source,omitempty" json:"source,omitempty" jsonschema:"description=A file beside the recipe to copy"`
	Link      string  `yaml:"link,omitempty" json:"link,omitempty" jsonschema:"description=Make a symbolic link with this target"`
	Directory bool    `yaml:"directory,omitempty" json:"directory,omitempty" jsonschema:"description=Make a directory"`
	Mode      string  `yaml:"mode,omitempty" json:"mode,omitempty" jsonschema:"pattern=^[0-7]{3\\,4}$,description=Octal; default 0644 or 0755 for directories"`
	Owner     string  `yaml:"owner,omitempty" json:"owner,omitempty" jsonschema:"description=user or user:group\\, as the image knows them (default root:root)"`
}

// Script is a program run in the image's sandbox; exactly one of Run and Source is set.
type Script struct {
	Name    string `yaml:"name,omitempty" json:"name,omitempty"`
	Run     string `yaml:"run,omitempty" json:"run,omitempty" jsonschema:"description=Shell text (run by /bin/sh -e)"`
	Source  string `yaml:"source,omitempty" json:"source,omitempty" jsonschema:"description=A program beside the recipe"`
	Network bool   `yaml:"network,omitempty" json:"network,omitempty" jsonschema:"description=May use the network; the image is then no longer a function of its lock"`
	Timeout string `yaml:"timeout,omitempty" json:"timeout,omitempty" jsonschema:"description=Go duration; default 10m"`
}

// Kernel says which kernel is booted, and what the boot loader tells it.
type Kernel struct {
	Package string   `yaml:"package,omitempty" json:"package,omitempty" jsonschema:"description=The kernel's package\\, in place of the distribution's own choice"`
	Cmdline []string `yaml:"cmdline,omitempty" json:"cmdline,omitempty" jsonschema:"description=Added to the distribution's own parameters"`
}

// Firmware says which firmware the disk boots under.
type Firmware string

const (
	BIOS     Firmware = "bios"
	UEFI     Firmware = "uefi"
	Both     Firmware = "both"
	TableGPT          = "gpt"
	TableMBR          = "msdos"
)

// Disk is the shape of the disk.
type Disk struct {
	Size       string   `yaml:"size,omitempty" json:"size,omitempty" jsonschema:"description=Whole disk\\, such as 2GiB; default: what the content needs\\, rounded up to a GiB"`
	Table      string   `yaml:"table,omitempty" json:"table,omitempty" jsonschema:"enum=gpt,enum=msdos"`
	Filesystem string   `yaml:"filesystem,omitempty" json:"filesystem,omitempty" jsonschema:"enum=ext4"`
	Firmware   Firmware `yaml:"firmware,omitempty" json:"firmware,omitempty" jsonschema:"enum=bios,enum=uefi,enum=both"`
	VolumeSize int      `yaml:"volume-size,omitempty" json:"volume-size,omitempty" jsonschema:"minimum=1,maximum=65536,description=GiB of the root volume at launch (default: the disk's size)"`
}

// Test says how the image is proven.
type Test struct {
	Firmware []Firmware `yaml:"firmware,omitempty" json:"firmware,omitempty" jsonschema:"description=Default: each one that the disk supports"`
	Bus      []string   `yaml:"bus,omitempty" json:"bus,omitempty" jsonschema:"description=nvme\\, virtio\\, scsi or ide; default nvme"`
	Timeout  string     `yaml:"timeout,omitempty" json:"timeout,omitempty" jsonschema:"description=Go duration for one boot; default 10m"`
	Memory   string     `yaml:"memory,omitempty" json:"memory,omitempty" jsonschema:"description=Default 1GiB"`
	// MetadataFailures makes the guest ask again, as it may have to on EC2.
	MetadataFailures int `yaml:"metadata-failures,omitempty" json:"metadata-failures,omitempty" jsonschema:"minimum=0,maximum=100,description=How many requests to the metadata service fail at first"`

	Run   []string `yaml:"run,omitempty" json:"run,omitempty" jsonschema:"description=Commands run in the guest over SSH; each must succeed"`
	Allow []string `yaml:"allow,omitempty" json:"allow,omitempty" jsonschema:"description=Names of console rules and checks that this image may fail"`
}

// Publish says where the image goes.
type Publish struct {
	Name          string            `yaml:"name,omitempty" json:"name,omitempty" jsonschema:"description=AMI name; may use {name} {arch} {release} and the lock's date as {date} (20260131) or {day} (2026.01.31)\\, and {kind}: ebs or s3; default {name}-{arch}-{date}\\, with -s3 for instance-store"`
	Kinds         []string          `yaml:"kinds,omitempty" json:"kinds,omitempty" jsonschema:"uniqueItems=true,description=Kinds of AMI: ebs and instance-store (default ebs)"`
	Bucket        string            `yaml:"bucket,omitempty" json:"bucket,omitempty" jsonschema:"description=S3 bucket for instance-store\\, in the region of each AMI; may use {region} and {account}"`
	Regions       []string          `yaml:"regions,omitempty" json:"regions,omitempty" jsonschema:"description=AWS regions\\, of any partition; default stands for all that need no opt-in\\, which is what is taken without this list. --region replaces them"`
	BestEffort    []string          `yaml:"best-effort,omitempty" json:"best-effort,omitempty" jsonschema:"description=Further regions\\, or some of the former: that one of them fails is said\\, but is no failure"`
	Profiles      map[string]string `yaml:"profiles,omitempty" json:"profiles,omitempty" jsonschema:"description=Profiles of the AWS configuration by partition\\, such as aws-cn or aws-us-gov; --profile is that of aws"`
	Copy          bool              `yaml:"copy,omitempty" json:"copy,omitempty" jsonschema:"description=Upload to the first region alone\\, and have EC2 copy the AMI to the others (default false: upload to all)"`
	Public        bool              `yaml:"public,omitempty" json:"public,omitempty"`
	Accounts      []string          `yaml:"accounts,omitempty" json:"accounts,omitempty" jsonschema:"description=Numbers of accounts that may launch the AMI"`
	Organizations []string          `yaml:"organizations,omitempty" json:"organizations,omitempty" jsonschema:"description=ARNs of organizations and organizational units whose accounts may launch the AMI"`
	ShareSnapshot bool              `yaml:"share-snapshot,omitempty" json:"share-snapshot,omitempty" jsonschema:"description=Share the snapshot too\\, so that those accounts can copy the AMI. With public\\, later releases are then uploaded whole"`
	Encrypt       bool              `yaml:"encrypt,omitempty" json:"encrypt,omitempty" jsonschema:"description=Encrypt the snapshots"`
	Keys          map[string]string `yaml:"keys,omitempty" json:"keys,omitempty" jsonschema:"description=ARN of the KMS key by region; default: the account's default key\\, which cannot be shared"`
	Parameters    []string          `yaml:"parameters,omitempty" json:"parameters,omitempty" jsonschema:"description=SSM parameters to hold the AMI's id in its region; may use what name may use"`
	Deprecate     string            `yaml:"deprecate,omitempty" json:"deprecate,omitempty" jsonschema:"description=How long after it was made the AMI is deprecated\\, such as 365d"`
	Protect       bool              `yaml:"protect,omitempty" json:"protect,omitempty" jsonschema:"description=Protect the AMI from being deregistered"`
	TPM           bool              `yaml:"tpm,omitempty" json:"tpm,omitempty" jsonschema:"description=Give instances a TPM 2.0; for images that boot through UEFI alone"`
	Tags          map[string]string `yaml:"tags,omitempty" json:"tags,omitempty"`
	Smoke         Smoke             `yaml:"smoke,omitempty" json:"smoke,omitzero"`
}

// Smoke says whether runs launch the EBS-backed AMI before others may, and end it again, which costs a little.
type Smoke struct {
	Regions SmokeRegions `yaml:"regions" json:"regions" jsonschema:"required,enum=first,enum=each,description=Runs launch the AMI in the first region that can\\, or in each of them\\, before others may"`
	Type    string       `yaml:"type,omitempty" json:"type,omitempty" jsonschema:"description=Instance type; default t3.micro\\, or t4g.micro"`
	Subnet  string       `yaml:"subnet,omitempty" json:"subnet,omitempty" jsonschema:"description=Subnet of the first region; default the region's own"`
}

// SmokeRegions says where to launch.
type SmokeRegions string

const (
	SmokeFirst SmokeRegions = "first" // in the first region that can
	SmokeEach  SmokeRegions = "each"
)

// On says whether there is a launch at all.
func (s Smoke) On() bool { return s.Regions != "" }

// Private returns the same without what lets others use the image, or leads them to it.
func (p Publish) Private() Publish {
	p.Public, p.Accounts, p.Organizations, p.ShareSnapshot, p.Parameters = false, nil, nil, false, nil
	return p
}

// The kinds of AMI, by where the root is.
const (
	EBS           = "ebs"
	InstanceStore = "instance-store"
)

// maxInstanceStore is the largest disk that can be an instance store-backed AMI, in bytes (bundle.MaxImageSize).
const maxInstanceStore = 10 << 30

// Retain says which releases stay, and how those that do not are taken out of use: deprecated, then disabled, then deregistered.
type Retain struct {
	Releases   int    `yaml:"releases,omitempty" json:"releases,omitempty" jsonschema:"minimum=1,description=Always keep this many newest verified releases (default 1)"`
	Age        string `yaml:"age,omitempty" json:"age,omitempty" jsonschema:"description=Keep what is younger\\, such as 90d"`
	Launched   string `yaml:"launched,omitempty" json:"launched,omitempty" jsonschema:"description=Do not disable or deregister what was launched within this time (default 30d)"`
	Disable    string `yaml:"disable-after,omitempty" json:"disable-after,omitempty" jsonschema:"description=Time from being deprecated to being disabled (default 30d)"`
	Deregister string `yaml:"deregister-after,omitempty" json:"deregister-after,omitempty" jsonschema:"description=Time from being disabled to being deregistered with its snapshot (default 30d)"`
}

// Schedule says when the image is built anew.
type Schedule struct {
	Cron    string `yaml:"cron,omitempty" json:"cron,omitempty" jsonschema:"description=Minute\\, hour\\, day of the month\\, month and day of the week\\, such as 0 2 1\\,15 * *; ingot serve starts a run then"`
	Zone    string `yaml:"zone,omitempty" json:"zone,omitempty" jsonschema:"description=Time zone such as Europe/Berlin (default UTC)"`
	Jitter  string `yaml:"jitter,omitempty" json:"jitter,omitempty" jsonschema:"description=Start up to this much later\\, each image at another time\\, such as 30m (default 0)"`
	When    string `yaml:"when,omitempty" json:"when,omitempty" jsonschema:"enum=changed,enum=packages,description=Build when packages\\, the recipe or ingot itself changed (default)\\, or for changed packages alone"`
	Approve bool   `yaml:"approve,omitempty" json:"approve,omitempty" jsonschema:"description=Wait for a person before the image is shared"`
	Upkeep  string `yaml:"upkeep,omitempty" json:"upkeep,omitempty" jsonschema:"description=When to look for newer packages of what is published and to retire what is old\\, as cron; default 0 5 * * *\\, where there is a cron; never"`
	Rebuild bool   `yaml:"rebuild,omitempty" json:"rebuild,omitempty" jsonschema:"description=Start a run when upkeep finds newer packages than the newest release has"`
}

// PackagesOnly reports whether changed packages alone are a reason to build.
func (s Schedule) PackagesOnly() bool { return s.When == "packages" }

// NoUpkeep is what Upkeep says where there is to be none.
const NoUpkeep = "never"

// Looks returns when upkeep is due, as cron; "" is never.
func (s Schedule) Looks() string {
	switch {
	case s.Upkeep == NoUpkeep:
		return ""
	case s.Upkeep == "" && s.Cron != "":
		return "0 5 * * *"
	}
	return s.Upkeep
}

// Late returns how much later than scheduled a run may start.
func (s Schedule) Late() time.Duration { return orDefault(s.Jitter, 0) }

// LooksLate returns how much later than scheduled upkeep may start: at least an hour, since nothing waits for it, and mirrors are
// shared.
func (s Schedule) LooksLate() time.Duration { return max(s.Late(), time.Hour) }

// Timeout limits, used where a recipe names none.
const (
	DefaultScriptTimeout = 10 * time.Minute
	DefaultBootTimeout   = 10 * time.Minute
)
