package region

import "slices"

// settings are what an account can set for a region as a whole.
type settings struct {
	ImageBlock, SnapshotBlock string // block public access; "": unblocked
}

const (
	settingsFile = "settings"
	unblocked    = "unblocked"
	blockNew     = "block-new-sharing"
	blockAll     = "block-all-sharing"
)

func (a *area) settings() settings {
	if s := a.config.rows[settingsFile]; s != nil {
		return *s
	}
	return settings{}
}

// imageBlock says whether block public access is on for images.
func (a *area) imageBlock() string {
	if p := a.r.opt.ImagePolicy; p != "" {
		return p
	}
	return orUnblocked(a.settings().ImageBlock)
}

func orUnblocked(state string) string {
	if state == "" {
		return unblocked
	}
	return state
}

type imageBlockOut struct {
	reply
	State     string `xml:"imageBlockPublicAccessState"`
	ManagedBy string `xml:"managedBy,omitempty"`
}

func (a *area) managedBy() string {
	if a.r.opt.ImagePolicy != "" {
		return "declarative-policy"
	}
	return "account"
}

type plainIn struct{ dryRun }

func (a *area) getImageBlock(in *plainIn) (*imageBlockOut, error) {
	return &imageBlockOut{State: a.imageBlock(), ManagedBy: a.managedBy()}, in.dry()
}

type enableImageBlockIn struct {
	dryRun
	State string `q:"ImageBlockPublicAccessState"`
}

func (a *area) enableImageBlock(in *enableImageBlockIn) (*imageBlockOut, error) {
	if in.State != blockNew {
		return nil, errorf("InvalidParameterValue", "Invalid value '%.60s' for ImageBlockPublicAccessState; expected %s", in.State, blockNew)
	}
	return a.setImageBlock(in.dryRun, blockNew)
}

func (a *area) disableImageBlock(in *plainIn) (*imageBlockOut, error) {
	return a.setImageBlock(in.dryRun, unblocked)
}

func (a *area) setImageBlock(in dryRun, state string) (*imageBlockOut, error) {
	if a.r.opt.ImagePolicy != "" {
		return nil, errorf("OperationNotPermitted", "Block public access for AMIs is managed by a declarative policy, and cannot be changed by the account")
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	next := a.settings()
	next.ImageBlock = state
	return &imageBlockOut{State: state}, a.config.put(settingsFile, &next)
}

type snapshotBlockOut struct {
	reply
	State     string `xml:"state"`
	ManagedBy string `xml:"managedBy,omitempty"`
}

func (a *area) snapshotBlockState(in *plainIn) (*snapshotBlockOut, error) {
	return &snapshotBlockOut{State: orUnblocked(a.settings().SnapshotBlock), ManagedBy: "account"}, in.dry()
}

type enableSnapshotBlockIn struct {
	dryRun
	State string `q:"State"`
}

func (a *area) enableSnapshotBlock(in *enableSnapshotBlockIn) (*snapshotBlockOut, error) {
	if !slices.Contains([]string{blockNew, blockAll}, in.State) {
		return nil, errorf("InvalidParameterValue", "Invalid value '%.60s' for State; expected %s or %s", in.State, blockAll, blockNew)
	}
	return a.setSnapshotBlock(in.dryRun, in.State)
}

func (a *area) disableSnapshotBlock(in *plainIn) (*snapshotBlockOut, error) {
	return a.setSnapshotBlock(in.dryRun, unblocked)
}

func (a *area) setSnapshotBlock(in dryRun, state string) (*snapshotBlockOut, error) {
	if err := in.dry(); err != nil {
		return nil, err
	}
	next := a.settings()
	next.SnapshotBlock = state
	return &snapshotBlockOut{State: state}, a.config.put(settingsFile, &next)
}

type encryptionDefaultOut struct {
	reply
	Encrypt bool `xml:"ebsEncryptionByDefault"`
}

// getEncryptionDefault says that new volumes are not encrypted unless they are asked to be.
func (a *area) getEncryptionDefault(in *plainIn) (*encryptionDefaultOut, error) {
	return &encryptionDefaultOut{}, in.dry()
}
