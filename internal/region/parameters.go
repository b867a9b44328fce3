package region

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// parameter is a parameter of Systems Manager's Parameter Store.
type parameter struct {
	Name, Type, Value, DataType string
	Description, Pattern, Tier  string
	Version                     int64
	Modified                    time.Time
	Tags                        map[string]string
}

const (
	textType  = "text"
	imageType = "aws:ec2:image"
	maxNames  = 10 // of one request
)

// maxValue is how many bytes a value may have, by tier.
var maxValue = map[string]int{"Standard": 4096, "Advanced": 8192}

var (
	parameterName = regexp.MustCompile(`^[a-zA-Z0-9_.\-/]+$`)
	reservedName  = regexp.MustCompile(`(?i)^/?(aws|ssm)`)
)

func invalidParameter(format string, args ...any) error {
	return errorf("ValidationException", format, args...)
}

func noParameter(name string) error {
	return errorf("ParameterNotFound", "Parameter %.200s not found.", name)
}

// parameterID is the id of a parameter in its table.
func parameterID(name string) string {
	sum := sha256.Sum256([]byte(name))
	return parameterPrefix + hex.EncodeToString(sum[:16])
}

const parameterPrefix = "parameter-"

func (a *area) parameterARN(name string) string {
	return "arn:" + a.partition() + ":ssm:" + a.name + ":" + a.r.opt.AccountID + ":parameter/" + strings.TrimPrefix(name, "/")
}

// parameter returns a parameter by its name or ARN, nil where there is none.
func (a *area) parameter(name string) *parameter {
	if rest, ok := strings.CutPrefix(name, a.parameterARN("")); ok {
		if p := a.parameters.rows[parameterID("/"+rest)]; p != nil {
			return p
		}
		name = rest
	}
	if !a.visible(parameterID(name)) {
		return nil
	}
	return a.parameters.rows[parameterID(name)]
}

type putParameterIn struct {
	Name, Description, Value, Type string
	Overwrite                      bool
	AllowedPattern, Tier, DataType string
	Tags                           []tagJSON
}

type putParameterOut struct {
	Version int64
	Tier    string
}

func (a *area) putParameter(in *putParameterIn) (any, error) {
	old := a.parameters.rows[parameterID(in.Name)]
	if err := in.check(old); err != nil {
		return nil, err
	}
	p := parameter{Name: in.Name, Type: in.Type, Value: in.Value, DataType: cmp.Or(in.DataType, textType), Description: in.Description,
		Pattern: in.AllowedPattern, Tier: cmp.Or(in.Tier, "Standard"), Version: 1, Modified: a.r.opt.Now(), Tags: map[string]string{}}
	if old != nil {
		p.Type, p.Version, p.Tags = old.Type, old.Version+1, maps.Clone(old.Tags)
		p.Tier, p.DataType, p.Description = cmp.Or(in.Tier, old.Tier), cmp.Or(in.DataType, old.DataType), cmp.Or(in.Description, old.Description)
	}
	for _, t := range in.Tags {
		p.Tags[t.Key] = t.Value
	}
	if p.DataType == imageType {
		switch {
		case p.Type != "String":
			return nil, invalidParameter("Data type %s is only supported for type String", imageType)
		case !validID("ami-", p.Value):
			return nil, invalidParameter("Parameter value does not match data type %s: %.100s", imageType, p.Value)
		}
		if i := a.images.rows[p.Value]; i == nil || i.State != imageAvailable {
			return putParameterOut{p.Version, p.Tier}, nil // judged after the reply: nothing is stored, and nobody is told
		}
	}
	return putParameterOut{p.Version, p.Tier}, a.parameters.put(parameterID(p.Name), &p)
}

func (in *putParameterIn) check(old *parameter) error {
	limit, ok := maxValue[cmp.Or(in.Tier, "Standard")]
	switch {
	case len(in.Name) > 1011 || !parameterName.MatchString(in.Name) || strings.HasSuffix(in.Name, "/") ||
		strings.Contains(in.Name, "//"):
		return invalidParameter("Parameter name: can't be empty, and may hold letters, numbers, and the symbols period, hyphen, underscore and slash")
	case reservedName.MatchString(in.Name):
		return invalidParameter("Parameter name: can't be prefixed with \"aws\" or \"ssm\" (case-insensitive).")
	case strings.Contains(in.Name, "/") && in.Name[0] != '/':
		return invalidParameter("Parameter name must be a fully qualified name.")
	case strings.Count(in.Name, "/") > 15:
		return errorf("HierarchyLevelLimitExceededException", "A hierarchy can have a maximum of 15 levels")
	case in.Value == "":
		return invalidParameter("Value is required")
	case !ok:
		return invalidParameter("Tier %.40s is not one of the local region's, Standard and Advanced", in.Tier)
	case len(in.Value) > limit:
		return invalidParameter("The value is longer than the %d characters of its tier", limit)
	case len(in.Description) > 1024:
		return invalidParameter("The description is longer than 1024 characters")
	case !slices.Contains([]string{"", textType, imageType}, in.DataType):
		return invalidParameter("The following data type is not supported: %.100s (Data type names are all lowercase.)", in.DataType)
	case old == nil && in.Type == "":
		return invalidParameter("A parameter type is required when you create a parameter.")
	case !slices.Contains([]string{"", "String", "StringList"}, in.Type):
		return errorf("UnsupportedParameterType", "The local region has the types String and StringList, and not %.60s", in.Type)
	case old != nil && !in.Overwrite:
		return errorf("ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
	case len(in.Tags) > 0 && in.Overwrite:
		return invalidParameter("Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag. " +
			"To update tags for an existing parameter, please use AddTagsToResource or RemoveTagsFromResource.")
	case old != nil && in.Type != "" && in.Type != old.Type:
		return errorf("HierarchyTypeMismatchException", "The parameter's type is %s and cannot be changed", old.Type)
	}
	if err := checkTags(tagsOf(in.Tags), 128, 256); err != nil {
		return invalidParameter("%s", err.Message)
	}
	pattern, err := regexp.Compile(`^(?:` + in.AllowedPattern + `)$`)
	switch {
	case err != nil || len(in.AllowedPattern) > 1024:
		return errorf("InvalidAllowedPatternException", "The pattern is not a regular expression that the local region knows, or longer than 1024 characters")
	case in.AllowedPattern != "" && !pattern.MatchString(in.Value):
		return errorf("ParameterPatternMismatchException", "Parameter value, cannot be validated against allowedPattern: %s", in.AllowedPattern)
	}
	return nil
}

// parameterJSON is how the Get actions show a parameter.
type parameterJSON struct {
	Name, Type, Value string
	Version           int64
	LastModifiedDate  any
	ARN, DataType     string
}

func (a *area) parameterJSON(p *parameter) parameterJSON {
	return parameterJSON{p.Name, p.Type, p.Value, p.Version, epoch(p.Modified), a.parameterARN(p.Name), p.DataType}
}

type getParameterIn struct {
	Name           string
	WithDecryption bool // there are no secure strings
}

func (a *area) getParameter(in *getParameterIn) (any, error) {
	p := a.parameter(in.Name)
	if p == nil {
		return nil, noParameter(in.Name)
	}
	return struct{ Parameter parameterJSON }{a.parameterJSON(p)}, nil
}

type parameterNamesIn struct {
	Names          []string
	WithDecryption bool
}

func (in *parameterNamesIn) check() error {
	if len(in.Names) == 0 || len(in.Names) > maxNames {
		return invalidParameter("1 validation error detected: Value at 'names' failed to satisfy constraint: Member must have length between 1 and %d", maxNames)
	}
	return nil
}

func (a *area) getParameters(in *parameterNamesIn) (any, error) {
	out := struct {
		Parameters        []parameterJSON
		InvalidParameters []string
	}{[]parameterJSON{}, []string{}}
	for _, name := range in.Names {
		if p := a.parameter(name); p != nil {
			out.Parameters = append(out.Parameters, a.parameterJSON(p))
		} else {
			out.InvalidParameters = append(out.InvalidParameters, name)
		}
	}
	return out, in.check()
}

type parameterNameIn struct{ Name string }

func (a *area) deleteParameter(in *parameterNameIn) (any, error) {
	if a.parameters.rows[parameterID(in.Name)] == nil {
		return nil, noParameter(in.Name)
	}
	return struct{}{}, a.parameters.drop(parameterID(in.Name))
}

func (a *area) deleteParameters(in *parameterNamesIn) (any, error) {
	out := struct{ DeletedParameters, InvalidParameters []string }{[]string{}, []string{}}
	if err := in.check(); err != nil {
		return nil, err
	}
	for _, name := range in.Names {
		if a.parameters.rows[parameterID(name)] == nil {
			out.InvalidParameters = append(out.InvalidParameters, name)
			continue
		}
		if err := a.parameters.drop(parameterID(name)); err != nil {
			return nil, err
		}
		out.DeletedParameters = append(out.DeletedParameters, name)
	}
	return out, nil
}

func (p *parameter) name() string { return p.Name }

// chosenParameters returns the parameters that pass.
func (a *area) chosenParameters(pass func(*parameter) bool) []*parameter {
	var all []*parameter
	for p := range maps.Values(a.parameters.rows) {
		if a.visible(parameterID(p.Name)) && pass(p) {
			all = append(all, p)
		}
	}
	return all
}
