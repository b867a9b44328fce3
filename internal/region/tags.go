package region

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxTags is how many tags an object may have.
const maxTags = 50

// tag is a tag of an object, as it comes in and as it goes out.
type tag struct {
	Key   string `q:"Key" xml:"key"`
	Value string `q:"Value" xml:"value"`
}

// tagSpec are the tags to give to the objects of one type that a request creates.
type tagSpec struct {
	ResourceType string `q:"ResourceType"`
	Tags         []tag  `q:"Tag"`
}

// checkTags validates tags; keyLen and valueLen are the service's limits in characters. It returns nil, not
// an error that is nil, when all is well.
func checkTags(tags []tag, keyLen, valueLen int) *apiError {
	seen := map[string]bool{}
	for _, t := range tags {
		switch {
		case t.Key == "" || utf8.RuneCountInString(t.Key) > keyLen:
			return errorf("InvalidParameterValue", "Tag key is empty or exceeds the maximum length of %d characters", keyLen)
		case utf8.RuneCountInString(t.Value) > valueLen:
			return errorf("InvalidParameterValue", "Tag value exceeds the maximum length of %d characters", valueLen)
		case strings.HasPrefix(strings.ToLower(t.Key), "aws:"):
			return errorf("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		case seen[t.Key]:
			return errorf("InvalidParameterValue", "Duplicate tag key '%s' specified.", t.Key)
		}
		seen[t.Key] = true
	}
	if len(seen) > maxTags {
		return errorf("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
	}
	return nil
}

// specTags returns the tags of a request by the type of object they are for, out of the types that the
// action creates.
func specTags(specs []tagSpec, types ...string) (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	for _, t := range types {
		out[t] = map[string]string{}
	}
	for _, s := range specs {
		into, ok := out[s.ResourceType]
		switch {
		case s.ResourceType == "":
			return nil, errorf("InvalidParameterValue", "Tag specification resource type must have a value")
		case !ok:
			return nil, errorf("InvalidParameterValue", "'%.60s' is not a valid taggable resource type for this operation.", s.ResourceType)
		case len(into) > 0:
			return nil, errorf("InvalidParameterValue", "The same resource type may not be specified more than once in tag specifications")
		case len(s.Tags) == 0:
			return nil, errorf("InvalidParameterValue", "Tag specification must have at least one tag")
		}
		if err := checkTags(s.Tags, 128, 256); err != nil {
			return nil, err
		}
		for _, t := range s.Tags {
			into[t.Key] = t.Value
		}
	}
	return out, nil
}

// tagSet returns tags as they are written, sorted by key.
func tagSet(tags map[string]string) []tag {
	var out []tag
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, tag{k, tags[k]})
	}
	return out
}

// tagMap is the other way round.
func tagMap(tags []tag) map[string]string {
	m := map[string]string{}
	for _, t := range tags {
		m[t.Key] = t.Value
	}
	return m
}

var metadataKey = regexp.MustCompile(`^[0-9a-zA-Z_+=,.@:-]{1,255}$`)

// checkMetadataKey refuses a tag that an instance's metadata, where tags are paths, cannot show.
func checkMetadataKey(key string) error {
	if !metadataKey.MatchString(key) || slices.Contains([]string{".", "..", "_index"}, key) {
		return errorf("InvalidParameterValue", "'%s' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{1,255}), "+
			"and must not be a reserved name ('.', '..', '_index')", key)
	}
	return nil
}

// taggable is an object that has tags.
type taggable struct {
	id, kind string
	tags     map[string]string
	save     func(tags map[string]string) error
}

// taggables returns every object of the area that has tags, by id.
func (a *area) taggables() map[string]taggable {
	all := map[string]taggable{}
	for id, o := range a.images.rows {
		if o.registered() {
			all[id] = taggable{id, "image", o.Tags, func(tags map[string]string) error {
				next := *o // the old one may be seen for a while
				next.Tags = tags
				return a.images.put(id, &next)
			}}
		}
	}
	for id, o := range a.snapshots.rows {
		all[id] = taggable{id, "snapshot", o.Tags, func(tags map[string]string) error { return set(a.snapshots, id, o, &o.Tags, tags) }}
	}
	for id, o := range a.keys.rows {
		all[id] = taggable{id, "key-pair", o.Tags, func(tags map[string]string) error { return set(a.keys, id, o, &o.Tags, tags) }}
	}
	for id, o := range a.instances.rows {
		all[id] = taggable{id, "instance", o.Tags, func(tags map[string]string) error { return set(a.instances, id, o, &o.Tags, tags) }}
	}
	for id, o := range a.groups.rows {
		all[id] = taggable{id, "security-group", o.Tags, func(tags map[string]string) error { return set(a.groups, id, o, &o.Tags, tags) }}
	}
	for id, o := range a.templates.rows {
		all[id] = taggable{id, "launch-template", o.Tags, func(tags map[string]string) error { return set(a.templates, id, o, &o.Tags, tags) }}
	}
	for id, o := range a.volumes.rows {
		all[id] = taggable{id, "volume", o.Tags, func(tags map[string]string) error { return set(a.volumes, id, o, &o.Tags, tags) }}
	}
	return all
}

// notFound is the refusal of an id that names nothing.
func notFound(id string) error {
	for _, k := range []struct{ prefix, code, text string }{
		{"ami-", "InvalidAMIID.NotFound", "The image id '[%s]' does not exist"},
		{"snap-", "InvalidSnapshot.NotFound", "The snapshot '%s' does not exist."},
		{"i-", "InvalidInstanceID.NotFound", "The instance ID '%s' does not exist"},
		{"key-", "InvalidKeyPair.NotFound", "The key pair '%s' does not exist"},
		{"vol-", "InvalidVolume.NotFound", "The volume '%s' does not exist."},
		{"sg-", "InvalidGroup.NotFound", "The security group '%s' does not exist"},
		{"lt-", "InvalidLaunchTemplateId.NotFound", "The specified launch template, with template ID %s, does not exist."},
	} {
		if strings.HasPrefix(id, k.prefix) {
			return errorf(k.code, k.text, id)
		}
	}
	return errorf("InvalidID", "The ID '%.100s' is not valid", id)
}

type tagsIn struct {
	dryRun
	Resources []string `q:"ResourceId"`
	Tags      []tag    `q:"Tag"`
}

func (a *area) resources(ids []string) ([]taggable, error) {
	if len(ids) == 0 {
		return nil, missing("resourceIdSet")
	}
	all := a.taggables()
	var found []taggable
	for _, id := range ids {
		o, ok := all[id]
		if !ok {
			return nil, notFound(id)
		}
		found = append(found, o)
	}
	return found, nil
}

func missing(name string) error {
	return errorf("MissingParameter", "The request must contain the parameter %s", name)
}

func (a *area) createTags(in *tagsIn) (*done, error) {
	objects, err := a.resources(in.Resources)
	if err != nil {
		return nil, err
	}
	if len(in.Tags) == 0 {
		return nil, missing("tagSet")
	}
	if err := checkTags(in.Tags, 128, 256); err != nil {
		return nil, err
	}
	var next []map[string]string
	for _, o := range objects {
		after := maps.Clone(o.tags)
		i := a.instances.rows[o.id]
		for _, t := range in.Tags {
			after[t.Key] = t.Value
			if i == nil || !i.tagsInMetadata() {
				continue
			}
			if err := checkMetadataKey(t.Key); err != nil {
				return nil, err
			}
		}
		if len(after) > maxTags {
			return nil, errorf("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
		}
		next = append(next, after)
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	for n, o := range objects {
		if err := o.save(next[n]); err != nil {
			return nil, err
		}
	}
	return &done{Return: true}, nil
}

// untag is a tag to delete: whatever its value, or only while it has a certain one.
type untag struct {
	Key   string  `q:"Key"`
	Value *string `q:"Value"`
}

type deleteTagsIn struct {
	dryRun
	Resources []string `q:"ResourceId"`
	Tags      []untag  `q:"Tag"`
}

func (a *area) deleteTags(in *deleteTagsIn) (*done, error) {
	objects, err := a.resources(in.Resources)
	if err != nil {
		return nil, err
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	for _, o := range objects {
		after := maps.Clone(o.tags)
		if len(in.Tags) == 0 {
			clear(after)
		}
		for _, t := range in.Tags {
			if t.Value == nil || *t.Value == after[t.Key] {
				delete(after, t.Key)
			}
		}
		if err := o.save(after); err != nil {
			return nil, err
		}
	}
	return &done{Return: true}, nil
}

type describeTagsIn struct {
	dryRun
	paged
	Filters []filter `q:"Filter"`
}

type tagXML struct {
	ID    string `xml:"resourceId"`
	Kind  string `xml:"resourceType"`
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

func (t tagXML) attr(name string) ([]string, bool) {
	if key, ok := strings.CutPrefix(name, "tag:"); ok {
		if t.Key == key {
			return []string{t.Value}, true
		}
		return nil, true
	}
	v, ok := map[string]string{"key": t.Key, "value": t.Value, "resource-id": t.ID, "resource-type": t.Kind}[name]
	return []string{v}, ok
}

type describeTagsOut struct {
	reply
	Tags list[tagXML] `xml:"tagSet"`
	Next string       `xml:"nextToken,omitempty"`
}

func (a *area) describeTags(in *describeTagsIn) (*describeTagsOut, error) {
	if err := in.dry(); err != nil {
		return nil, err
	}
	var all []tagXML
	for _, o := range a.taggables() {
		for _, t := range tagSet(o.tags) {
			all = append(all, tagXML{o.id, o.kind, t.Key, t.Value})
		}
	}
	all, err := choose(all, in.Filters, tagXML.attr)
	if err != nil {
		return nil, err
	}
	out := &describeTagsOut{}
	out.Tags.Items, out.Next, err = page(a.r, "DescribeTags", in.paged, 5, false, all, func(x tagXML) string { return x.ID + " " + x.Key })
	return out, err
}
