package check

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/catalog"
	"ingot/internal/publish/attribute"
	"ingot/internal/publish/inventory"
)

// compare returns how an image and its snapshot, nil where there is none, differ from what is wanted.
func compare(w *Wanted, a catalog.AMI, i *types.Image, s *types.Snapshot, now time.Time) (all []Finding) {
	differ := func(what, want, got string, m Mend) {
		if want != got {
			all = append(all, Finding{Region: a.Region, ImageID: a.ImageID, What: what, Want: want, Got: got, Mend: m})
		}
	}
	retiring := a.State == catalog.Deprecated
	disabled := i.State == types.ImageStateDisabled
	if !retiring || !disabled { // of what retires, the catalogue does not tell which stage it is in
		differ("state", string(types.ImageStateAvailable), string(i.State), Nothing)
	}
	differ("architecture", w.Release.Arch, string(i.Architecture), Nothing)
	differ("virtualization", "hvm", string(i.VirtualizationType), Nothing)
	if w.ENA != nil {
		differ("ENA", strconv.FormatBool(*w.ENA), strconv.FormatBool(aws.ToBool(i.EnaSupport)), Nothing)
	}
	differ("IMDS", string(types.ImdsSupportValuesV20), string(i.ImdsSupport), Nothing)
	differ("root device", w.Release.Kind, string(i.RootDeviceType), Nothing)
	public := Share
	if !a.Public {
		public = Unshare
	}
	if !disabled {
		differ("public", strconv.FormatBool(a.Public), strconv.FormatBool(aws.ToBool(i.Public)), public)
	}
	at, _ := time.Parse(time.RFC3339, aws.ToString(i.DeprecationTime)) // none is the zero time
	past := attribute.Deprecated(at, now)
	if retiring {
		differ("deprecated", "true", strconv.FormatBool(past), Deprecate)
	} else {
		differ("deprecated", "false", strconv.FormatBool(past), Renew)
	}
	if w.BootMode != "" {
		differ("boot mode", w.BootMode, string(i.BootMode), Nothing)
	}
	if w.TPM != nil {
		differ("TPM", map[bool]string{true: string(types.TpmSupportValuesV20)}[*w.TPM], string(i.TpmSupport), Nothing)
	}
	if p := aws.ToString(i.DeregistrationProtection); w.Protect && !retiring && (p == "" || p == "disabled") {
		differ("protection", "enabled", "disabled", Publish)
	}
	if w.Description != nil {
		differ("description", *w.Description, aws.ToString(i.Description), Describe)
	}
	all = append(all, tags(w, a, a.ImageID, i.Tags)...)
	if w.Release.Kind == "instance-store" {
		return all
	}
	differ("snapshot", a.SnapshotID, inventory.RootSnapshot(i), Record)
	if s == nil {
		differ("state of the snapshot", string(types.SnapshotStateCompleted), "it is not there", Nothing)
		return all
	}
	differ("state of the snapshot", string(types.SnapshotStateCompleted), string(s.State), Nothing)
	if w.Encrypted != nil {
		differ("encrypted", strconv.FormatBool(*w.Encrypted), strconv.FormatBool(aws.ToBool(s.Encrypted)), Nothing)
		if key := w.Keys[a.Region]; *w.Encrypted && key != "" {
			differ("key", key, aws.ToString(s.KmsKeyId), Nothing)
		}
	} else if a.Public {
		differ("encrypted", "false", strconv.FormatBool(aws.ToBool(s.Encrypted)), Nothing)
	}
	return append(all, tags(w, a, aws.ToString(s.SnapshotId), s.Tags)...)
}

// tags compares the tags that are wanted with those of an image or snapshot. Others may have added some of their own.
func tags(w *Wanted, a catalog.AMI, resource string, have []types.Tag) (all []Finding) {
	for _, key := range slices.Sorted(maps.Keys(w.Tags)) {
		if got := inventory.Tag(have, key); got != w.Tags[key] {
			all = append(all, Finding{Region: a.Region, ImageID: a.ImageID, What: "tag " + key, Want: w.Tags[key], Got: got, Mend: Tag, Resource: resource, Key: key})
		}
	}
	return all
}
