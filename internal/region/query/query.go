// Package query decodes the parameters of the EC2 query protocol ("Filter.1.Value.2=x86_64") into Go
// structs. It is driven by the structs alone: a field's tag `q:"Filter"` names the parameter, slices are
// numbered lists, structs are dotted prefixes. A parameter that no field takes is refused, as EC2 does.
package query

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits on what a request may hold, far above what a real client sends.
const (
	MaxBytes  = 1 << 20 // of the whole form
	MaxParams = 4000
	MaxDepth  = 8
	MaxIndex  = 1000 // of a list
)

// Error is a refusal, with EC2's code for it.
type Error struct{ Code, Message string }

func (e *Error) Error() string { return e.Code + ": " + e.Message }

func refuse(code, format string, args ...any) error {
	return &Error{code, fmt.Sprintf(format, args...)}
}

// Form is the parameters of one request: a tree whose edges are the dot-separated parts of their names.
type Form struct {
	name     string // the whole name, from the root
	value    *string
	children map[string]*Form
}

// Parse reads a form (application/x-www-form-urlencoded). Its error is an *Error.
func Parse(text string) (*Form, error) {
	root := &Form{}
	if len(text) > MaxBytes {
		return nil, refuse("RequestTooLarge", "The request is larger than %d bytes", MaxBytes)
	}
	n := 0
	for part := range strings.SplitSeq(text, "&") {
		if part == "" {
			continue
		}
		if n++; n > MaxParams {
			return nil, refuse("InvalidQueryParameter", "The request has more than %d parameters", MaxParams)
		}
		k, v, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(k)
		if err != nil {
			return nil, refuse("MalformedQueryString", "The query string is malformed")
		}
		value, err := url.QueryUnescape(v)
		if err != nil {
			return nil, refuse("MalformedQueryString", "The value of %.100q is malformed", name)
		}
		if !utf8.ValidString(name) || !utf8.ValidString(value) {
			return nil, refuse("InvalidCharacter", "A specified character is invalid")
		}
		if err := root.add(name, value); err != nil {
			return nil, err
		}
	}
	return root, nil
}

func (f *Form) add(name, value string) error {
	steps := strings.Split(name, ".")
	if len(steps) > MaxDepth {
		return refuse("UnknownParameter", "The parameter %.100s is not recognized", name)
	}
	node := f
	for i, step := range steps {
		if step == "" {
			return refuse("UnknownParameter", "The parameter %.100s is not recognized", name)
		}
		next := node.children[step]
		if next == nil {
			next = &Form{name: strings.Join(steps[:i+1], ".")}
			if node.children == nil {
				node.children = map[string]*Form{}
			}
			node.children[step] = next
		}
		node = next
	}
	if node.value != nil {
		return refuse("InvalidQueryParameter", "The parameter %.100s is there more than once", name)
	}
	node.value = &value
	return nil
}

// Value returns the value of a top-level parameter.
func (f *Form) Value(name string) string {
	if n := f.children[name]; n != nil && n.value != nil {
		return *n.value
	}
	return ""
}

// Take returns the value of a top-level parameter and removes it from the form.
func (f *Form) Take(name string) string {
	v, n := f.Value(name), f.children[name]
	if n == nil {
		return ""
	}
	if n.value = nil; len(n.children) == 0 {
		delete(f.children, name)
	}
	return v
}

// Decode stores the form in the struct that dst points to. Fields are string, bool, int32, int64, []byte
// (base64 on the wire), pointers to these (nil when absent), structs, and slices of all of them; embedded
// structs share their parent's prefix. Its error is an *Error.
func (f *Form) Decode(dst any) error {
	return f.decode(reflect.ValueOf(dst).Elem())
}

func (f *Form) decode(v reflect.Value) error {
	switch {
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return f.decode(v.Elem())
	case v.Kind() == reflect.Struct:
		return f.decodeStruct(v)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8:
		return f.decodeList(v)
	}
	if len(f.children) > 0 {
		return f.unknown()
	}
	return f.decodeScalar(v)
}

func (f *Form) decodeStruct(v reflect.Value) error {
	if f.value != nil {
		return f.unknown()
	}
	taken := map[string]bool{}
	if err := f.fields(v, taken); err != nil {
		return err
	}
	for _, name := range sorted(f.children) {
		if !taken[name] {
			return f.children[name].unknown()
		}
	}
	return nil
}

func (f *Form) fields(v reflect.Value, taken map[string]bool) error {
	t := v.Type()
	for i := range t.NumField() {
		field := t.Field(i)
		if field.Anonymous {
			if err := f.fields(v.Field(i), taken); err != nil {
				return err
			}
			continue
		}
		name := field.Tag.Get("q")
		taken[name] = true
		if child := f.children[name]; child != nil {
			if err := child.decode(v.Field(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// decodeList reads Name.1, Name.2 …; EC2 takes gaps, and orders by number.
func (f *Form) decodeList(v reflect.Value) error {
	if f.value != nil {
		return f.unknown()
	}
	type item struct {
		index int
		form  *Form
	}
	var items []item
	for step, child := range f.children {
		i, err := strconv.Atoi(step)
		if err != nil || i < 1 || strconv.Itoa(i) != step {
			return child.unknown()
		}
		if i > MaxIndex {
			return refuse("InvalidParameterValue", "The parameter %s has more than %d elements", f.name, MaxIndex)
		}
		items = append(items, item{i, child})
	}
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(a.index, b.index) })
	list := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, it := range items {
		if err := it.form.decode(list.Index(i)); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

func (f *Form) decodeScalar(v reflect.Value) error {
	s := *f.value
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Bool:
		switch s {
		case "true", "True", "1":
			v.SetBool(true)
		case "false", "False", "0":
		default:
			return f.invalid("boolean")
		}
	case reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(s, 10, v.Type().Bits())
		if err != nil {
			return f.invalid("integer")
		}
		v.SetInt(n)
	case reflect.Slice: // of bytes
		data, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return f.invalid("base64 text")
		}
		v.SetBytes(data)
	default:
		panic("query: no decoding for " + v.Type().String())
	}
	return nil
}

// unknown refuses the first parameter at or below f.
func (f *Form) unknown() error {
	for f.value == nil {
		f = f.children[sorted(f.children)[0]]
	}
	return refuse("UnknownParameter", "The parameter %.100s is not recognized", f.name)
}

func (f *Form) invalid(kind string) error {
	return refuse("InvalidParameterValue", "Invalid value '%.100s' for %s; expected %s", *f.value, f.name, kind)
}

func sorted(m map[string]*Form) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
