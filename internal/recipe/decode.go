package recipe

import (
	"reflect"
	"strconv"
	"strings"
)

// decode fills v from n, strictly: a key that v's type does not have is an error with its position. Only
// the kinds that Recipe uses are known here; anything else is a mistake in that type and panics.
func decode(n *node, v reflect.Value, path string) error {
	switch v.Kind() {
	case reflect.Pointer:
		if n.kind == nullNode {
			return nil
		}
		v.Set(reflect.New(v.Type().Elem()))
		return decode(n, v.Elem(), path)
	case reflect.Struct:
		return decodeStruct(n, v, path)
	case reflect.Slice:
		if n.kind == nullNode {
			return nil
		}
		if n.kind != listNode {
			return n.errorf("%s: must be a list", path)
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
		for i, item := range n.items {
			if err := decode(item, v.Index(i), path+"["+strconv.Itoa(i)+"]"); err != nil {
				return err
			}
		}
		return nil
	case reflect.Map:
		if n.kind == nullNode {
			return nil
		}
		if n.kind != mapNode {
			return n.errorf("%s: must be a map", path)
		}
		v.Set(reflect.MakeMap(v.Type()))
		for _, k := range n.keys {
			elem := reflect.New(v.Type().Elem()).Elem()
			if err := decode(k.value, elem, join(path, k.name)); err != nil {
				return err
			}
			v.SetMapIndex(reflect.ValueOf(k.name), elem)
		}
		return nil
	case reflect.Interface:
		if any := free(n); any != nil {
			v.Set(reflect.ValueOf(any))
		}
		return nil
	case reflect.String, reflect.Bool, reflect.Int:
		if n.kind != scalarNode {
			return n.errorf("%s: must be one %s, not a list or a map", path, scalarName(v.Kind()))
		}
		return decodeScalar(n, v, path)
	}
	panic("recipe: no decoder for " + v.Type().String())
}

func decodeStruct(n *node, v reflect.Value, path string) error {
	if n.kind == nullNode {
		return nil
	}
	if n.kind != mapNode {
		return n.errorf("%s: must be a map", orTop(path))
	}
	fields := map[string]int{}
	var known []string
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if name != "-" {
			fields[name] = i
			known = append(known, name)
		}
	}
	for _, k := range n.keys {
		i, ok := fields[k.name]
		if !ok {
			return positioned(n.file, k.line, k.column, "%s: unknown key %q%s", orTop(path), k.name, suggest(k.name, known))
		}
		if err := decode(k.value, v.Field(i), join(path, k.name)); err != nil {
			return err
		}
	}
	return nil
}

func decodeScalar(n *node, v reflect.Value, path string) error {
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.text)
	case reflect.Bool:
		switch n.text {
		case "true":
			v.SetBool(true)
		case "false":
			v.SetBool(false)
		default:
			return n.errorf("%s: must be true or false, not %q", path, n.text)
		}
	case reflect.Int:
		i, err := strconv.Atoi(n.text)
		if err != nil {
			return n.errorf("%s: must be a whole number, not %q", path, n.text)
		}
		v.SetInt(int64(i))
	}
	return nil
}

func scalarName(k reflect.Kind) string {
	return map[reflect.Kind]string{reflect.String: "text", reflect.Bool: "true or false", reflect.Int: "number"}[k]
}

// free returns n as plain Go values, with YAML's core schema for unquoted scalars.
func free(n *node) any {
	switch n.kind {
	case mapNode:
		m := make(map[string]any, len(n.keys))
		for _, k := range n.keys {
			m[k.name] = free(k.value)
		}
		return m
	case listNode:
		l := make([]any, len(n.items))
		for i, item := range n.items {
			l[i] = free(item)
		}
		return l
	case nullNode:
		return nil
	}
	if !n.quoted {
		switch n.text {
		case "true":
			return true
		case "false":
			return false
		}
		if i, err := strconv.Atoi(n.text); err == nil && strconv.Itoa(i) == n.text {
			return i
		}
		if f, err := strconv.ParseFloat(n.text, 64); err == nil {
			return f
		}
	}
	return n.text
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func orTop(path string) string {
	if path == "" {
		return "recipe"
	}
	return path
}
