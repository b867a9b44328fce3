package region

import (
	"maps"
	"slices"
	"strings"
)

type parameterFilter struct {
	Key, Option string
	Values      []string
}

// check validates a filter; byPath says that it is one of GetParametersByPath, which has fewer.
func (f parameterFilter) check(byPath bool) error {
	options := map[string][]string{"Name": {"", "Equals", "BeginsWith", "Contains"}, "Type": {"", "Equals", "BeginsWith"},
		"DataType": {"", "Equals", "BeginsWith"}, "Tier": {"", "Equals", "BeginsWith"}, "Path": {"", "OneLevel", "Recursive"}}[f.Key]
	switch {
	case strings.HasPrefix(f.Key, "tag:"):
		options = []string{"", "Equals", "BeginsWith"}
	case byPath && f.Key != "Type":
		return errorf("InvalidFilterKey", "The following filter key is not valid: %.100s. Valid filter keys include: [Type].", f.Key)
	}
	switch {
	case options == nil:
		return errorf("InvalidFilterKey", "The following filter key is not valid: %.100s", f.Key)
	case !slices.Contains(options, f.Option):
		return errorf("InvalidFilterOption", "The following filter option is not valid: %.100s", f.Option)
	case len(f.Values) == 0 || len(f.Values) > 50:
		return errorf("InvalidFilterValue", "A filter has 1 to 50 values")
	case f.Key == "Path" && slices.ContainsFunc(f.Values, func(v string) bool { return !strings.HasPrefix(v, "/") }):
		return invalidParameter("The parameter doesn't meet the parameter name requirements. A path begins with a slash")
	}
	return nil
}

func (f parameterFilter) match(p *parameter) bool {
	have := map[string]string{"Name": p.Name, "Type": p.Type, "DataType": p.DataType, "Tier": p.Tier}[f.Key]
	if key, ok := strings.CutPrefix(f.Key, "tag:"); ok {
		if have, ok = p.Tags[key]; !ok {
			return false
		}
	}
	return slices.ContainsFunc(f.Values, func(v string) bool {
		switch {
		case f.Key == "Path":
			return below(p.Name, v, f.Option == "Recursive")
		case f.Option == "BeginsWith":
			return strings.HasPrefix(have, v)
		case f.Option == "Contains":
			return strings.Contains(have, v)
		}
		return have == v
	})
}

// below says whether a parameter is in a path of the hierarchy.
func below(name, path string, recursive bool) bool {
	rest, ok := strings.CutPrefix(name, strings.TrimSuffix(path, "/")+"/")
	return ok && (recursive || !strings.Contains(rest, "/"))
}

type describeParametersIn struct {
	ParameterFilters []parameterFilter
	MaxResults       *int32
	NextToken        string
}

type parameterMetadata struct {
	Name, ARN, Type  string
	LastModifiedDate any
	LastModifiedUser string
	Description      string `json:",omitempty"`
	AllowedPattern   string `json:",omitempty"`
	Version          int64
	Tier, DataType   string
}

func (a *area) describeParameters(in *describeParametersIn) (any, error) {
	for _, f := range in.ParameterFilters {
		if err := f.check(false); err != nil {
			return nil, err
		}
	}
	all := a.chosenParameters(func(p *parameter) bool {
		return !slices.ContainsFunc(in.ParameterFilters, func(f parameterFilter) bool { return !f.match(p) })
	})
	some, next, err := jsonPage(a.r, "DescribeParameters", in.MaxResults, in.NextToken, 50, "InvalidNextToken", all, (*parameter).name)
	out := struct {
		Parameters []parameterMetadata
		NextToken  string `json:",omitempty"`
	}{[]parameterMetadata{}, next}
	for _, p := range some {
		out.Parameters = append(out.Parameters, parameterMetadata{p.Name, a.parameterARN(p.Name), p.Type, epoch(p.Modified),
			a.caller(), p.Description, p.Pattern, p.Version, p.Tier, p.DataType})
	}
	return out, err
}

type parametersByPathIn struct {
	Path             string
	Recursive        bool
	ParameterFilters []parameterFilter
	WithDecryption   bool
	MaxResults       *int32
	NextToken        string
}

func (a *area) getParametersByPath(in *parametersByPathIn) (any, error) {
	if !strings.HasPrefix(in.Path, "/") {
		return nil, invalidParameter("The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash \"/\".")
	}
	for _, f := range in.ParameterFilters {
		if err := f.check(true); err != nil {
			return nil, err
		}
	}
	all := a.chosenParameters(func(p *parameter) bool {
		return below(p.Name, in.Path, in.Recursive) && !slices.ContainsFunc(in.ParameterFilters, func(f parameterFilter) bool { return !f.match(p) })
	})
	some, next, err := jsonPage(a.r, "GetParametersByPath "+in.Path, in.MaxResults, in.NextToken, 10, "InvalidNextToken", all, (*parameter).name)
	out := struct {
		Parameters []parameterJSON
		NextToken  string `json:",omitempty"`
	}{[]parameterJSON{}, next}
	for _, p := range some {
		out.Parameters = append(out.Parameters, a.parameterJSON(p))
	}
	return out, err
}

type parameterTagsIn struct {
	ResourceType, ResourceId string //nolint:revive // as the wire spells it
	Tags                     []tagJSON
	TagKeys                  []string
}

// tagged returns the parameter whose tags a request is about.
func (a *area) tagged(in *parameterTagsIn) (*parameter, error) {
	if in.ResourceType != "Parameter" {
		return nil, errorf("InvalidResourceType", "The local region has parameters alone, and no %.60s", in.ResourceType)
	}
	p := a.parameter(in.ResourceId)
	if p == nil {
		return nil, errorf("InvalidResourceId", "The resource ID is not valid. Verify that you entered the correct ID and try again.")
	}
	return p, nil
}

func (a *area) listParameterTags(in *parameterTagsIn) (any, error) {
	p, err := a.tagged(in)
	if err != nil {
		return nil, err
	}
	out := struct{ TagList []tagJSON }{[]tagJSON{}}
	for _, t := range tagSet(p.Tags) {
		out.TagList = append(out.TagList, tagJSON(t))
	}
	return out, nil
}

func (a *area) addParameterTags(in *parameterTagsIn) (any, error) {
	p, err := a.tagged(in)
	if err != nil {
		return nil, err
	}
	tags := tagsOf(in.Tags)
	for k, v := range p.Tags {
		if !slices.ContainsFunc(tags, func(t tag) bool { return t.Key == k }) {
			tags = append(tags, tag{k, v})
		}
	}
	if err := checkTags(tags, 128, 256); err != nil {
		return nil, invalidParameter("%s", err.Message)
	}
	return struct{}{}, set(a.parameters, parameterID(p.Name), p, &p.Tags, tagMap(tags))
}

func (a *area) removeParameterTags(in *parameterTagsIn) (any, error) {
	p, err := a.tagged(in)
	if err != nil {
		return nil, err
	}
	after := maps.Clone(p.Tags)
	for _, k := range in.TagKeys {
		delete(after, k)
	}
	return struct{}{}, set(a.parameters, parameterID(p.Name), p, &p.Tags, after)
}
