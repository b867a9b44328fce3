package region

import "cmp"

const createVolume = "createVolumePermission"

type snapshotAttributeIn struct {
	dryRun
	ID        string `q:"SnapshotId"`
	Attribute string `q:"Attribute"`
}

// mySnapshot returns a snapshot that a request names.
func (a *area) mySnapshot(id string) (*snapshot, error) {
	if id == "" {
		return nil, missing("SnapshotId")
	}
	if !validID("snap-", id) {
		return nil, errorf("InvalidSnapshotID.Malformed", "Invalid id: \"%.100s\" (expecting \"snap-...\")", id)
	}
	if s := a.snapshot(id); s != nil && a.visible(id) {
		return s, nil
	}
	return nil, notFound(id)
}

// withAttribute returns the snapshot of a request, and checks which attribute it names.
func (a *area) withAttribute(id, attribute string, valid ...string) (*snapshot, error) {
	s, err := a.mySnapshot(id)
	if err != nil {
		return nil, err
	}
	if attribute == "" {
		return nil, missing("Attribute")
	}
	for _, v := range valid {
		if attribute == v {
			return s, nil
		}
	}
	return nil, unknownAttribute(attribute)
}

type modifySnapshotAttributeIn struct {
	dryRun
	ID         string `q:"SnapshotId"`
	Attribute  string `q:"Attribute"`
	Permission change `q:"CreateVolumePermission"`
	oldChange
}

func (a *area) modifySnapshotAttribute(in *modifySnapshotAttributeIn) (*done, error) {
	s, err := a.withAttribute(in.ID, cmp.Or(in.Attribute, createVolume), createVolume)
	if err != nil {
		return nil, err
	}
	permission := in.Permission
	if err := permission.add(in.Operation, in.list()); err != nil {
		return nil, err
	}
	next := s.clone()
	if err := next.apply(permission, checkCreateVolume); err != nil {
		return nil, err
	}
	notPermitted := func(text string) error { return errorf("OperationNotPermitted", "%s", text) }
	wider := next.Public && !s.Public || next.targets() > s.targets()
	switch {
	case permission.empty():
		return nil, errorf("InvalidParameterCombination", "No attributes specified.")
	case wider && s.KmsKey == a.managedKey():
		return nil, notPermitted("Encrypted snapshots with EBS default key cannot be shared")
	case next.Public && s.Encrypted:
		return nil, notPermitted("Encrypted snapshots cannot be shared publicly")
	case wider && s.State != stateCompleted:
		return nil, errorf("IncorrectState", "Snapshot is in invalid state - %s", s.State)
	case next.Public && !s.Public && orUnblocked(a.settings().SnapshotBlock) != unblocked:
		return nil, notPermitted("Block public access for snapshots is enabled in this Region, and prevents the snapshot from being shared publicly")
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	return &done{Return: true}, set(a.snapshots, s.ID, s, &s.permissions, next)
}

// checkCreateVolume judges a grant of a permission to create volumes.
func checkCreateVolume(g grant) error {
	if g.Org != "" || g.OrgUnit != "" {
		return errorf("UnknownParameter", "Snapshots are shared with accounts alone")
	}
	if err := checkLaunch(g); err != nil {
		return errorf("InvalidParameterValue", "The accounts or groups that the snapshot is to be shared with are not valid")
	}
	return nil
}

type snapshotAttributeOut struct {
	reply
	ID          string       `xml:"snapshotId"`
	Permissions *list[grant] `xml:"createVolumePermission"`
	Products    *struct{}    `xml:"productCodes"`
}

func (a *area) describeSnapshotAttribute(in *snapshotAttributeIn) (*snapshotAttributeOut, error) {
	s, err := a.withAttribute(in.ID, in.Attribute, createVolume, "productCodes")
	if err != nil {
		return nil, err
	}
	out := &snapshotAttributeOut{ID: s.ID}
	if in.Attribute == createVolume {
		out.Permissions = &list[grant]{s.list()}
	} else {
		out.Products = &struct{}{}
	}
	return out, in.dry()
}

func (a *area) resetSnapshotAttribute(in *snapshotAttributeIn) (*done, error) {
	s, err := a.withAttribute(in.ID, in.Attribute, createVolume)
	if err != nil {
		return nil, err
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	return &done{Return: true}, set(a.snapshots, s.ID, s, &s.permissions, permissions{})
}
