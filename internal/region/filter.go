package region

import (
	"slices"
	"strings"
)

// filter is one filter of a Describe call: any of its values must match, in every filter.
type filter struct {
	Name   string   `q:"Name"`
	Values []string `q:"Value"`
}

// maxFilterValues is EC2's limit on the values of one request's filters.
const maxFilterValues = 200

// match says whether an object passes all filters. attr returns an object's values for a filter's name, and
// whether there is such a filter at all.
func match(filters []filter, attr func(name string) ([]string, bool)) (bool, error) {
	pass, total := true, 0
	for _, f := range filters {
		if total += len(f.Values); total > maxFilterValues {
			return false, errorf("FilterLimitExceeded", "The maximum length for a filter value list is %d", maxFilterValues)
		}
		if f.Name == "" {
			return false, errorf("InvalidParameterValue", "The filter 'null' is invalid")
		}
		have, ok := attr(f.Name)
		if !ok {
			return false, errorf("InvalidParameterValue", "The filter '%.100s' is invalid", f.Name)
		}
		if len(f.Values) == 0 {
			return false, errorf("InvalidParameterValue", "The filter '%.100s' has no values", f.Name)
		}
		pass = pass && slices.ContainsFunc(f.Values, func(pattern string) bool {
			return slices.ContainsFunc(have, func(v string) bool { return wildcard(pattern, v) })
		})
	}
	return pass, nil
}

// tagAttr answers the filters that every tagged object has: tag:KEY and tag-key.
func tagAttr(tags map[string]string, name string) ([]string, bool) {
	if key, ok := strings.CutPrefix(name, "tag:"); ok {
		if v, has := tags[key]; has {
			return []string{v}, true
		}
		return nil, true
	}
	if name != "tag-key" {
		return nil, false
	}
	var keys []string
	for k := range tags {
		keys = append(keys, k)
	}
	return keys, true
}

// has says whether a value is among those that a request names; one that names none takes all.
func has(named []string, value string) bool { return len(named) == 0 || slices.Contains(named, value) }

// one is the answer to a filter, for objects whose filters have one value each.
func one(values map[string]string, name string) ([]string, bool) {
	v, ok := values[name]
	return []string{v}, ok
}

// wildcard matches text against a filter's value, in which * is any run, ? any one character, and a
// backslash takes the meaning away from the next. It takes time in proportion to len(p)·len(s) at worst.
func wildcard(p, s string) bool {
	star, mark := -1, 0 // where the last star is, and where in s its run began
	i, j := 0, 0
	for j < len(s) {
		if i < len(p) {
			switch c := p[i]; {
			case c == '*':
				star, mark = i, j
				i++
				continue
			case c == '?':
				i, j = i+1, j+1
				continue
			case c == '\\' && i+1 < len(p):
				if p[i+1] == s[j] {
					i, j = i+2, j+1
					continue
				}
			case c == s[j]:
				i, j = i+1, j+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		i, j = star+1, mark
	}
	return strings.Trim(p[i:], "*") == ""
}

// choose returns the objects that pass all filters. The filters are checked even where there is no object.
func choose[T any](all []T, filters []filter, attr func(o T, name string) ([]string, bool)) ([]T, error) {
	var none T
	if _, err := match(filters, func(name string) ([]string, bool) { return attr(none, name) }); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(o T) bool {
		ok, _ := match(filters, func(name string) ([]string, bool) { return attr(o, name) })
		return !ok
	}), nil
}
