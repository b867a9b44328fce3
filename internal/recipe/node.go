package recipe

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"ingot/internal/fault"
)

// Limits on a recipe's text: generous for people, small for machines.
const (
	maxFile  = 1 << 20
	maxDepth = 32
	maxNodes = 50_000
)

type nodeKind uint8

const (
	scalarNode nodeKind = iota
	mapNode
	listNode
	nullNode
)

// node is a YAML value that remembers where it stands. A scalar keeps its source text, so that 6.10 stays
// "6.10" wherever a string is wanted.
type node struct {
	kind   nodeKind
	text   string // of a scalar, unquoted
	quoted bool   // the scalar was quoted or a block: it is a string, whatever it looks like
	keys   []key  // of a map, in source order
	items  []*node
	file   string
	line   int
	column int
}

type key struct {
	name         string
	line, column int
	value        *node
}

func (n *node) get(name string) *node {
	for _, k := range n.keys {
		if k.name == name {
			return k.value
		}
	}
	return nil
}

// drop returns a shallow copy of a map without the named keys.
func (n *node) drop(names ...string) *node {
	c := *n
	c.keys = nil
next:
	for _, k := range n.keys {
		for _, d := range names {
			if k.name == d {
				continue next
			}
		}
		c.keys = append(c.keys, k)
	}
	return &c
}

func (n *node) errorf(format string, args ...any) error {
	return positioned(n.file, n.line, n.column, format, args...)
}

func positioned(file string, line, column int, format string, args ...any) error {
	return fault.Newf(fault.Input, "%s:%d:%d: %s", file, line, column, fmt.Sprintf(format, args...))
}

// parserError is how the parser begins its errors: [line:column].
var parserError = regexp.MustCompile(`(?s)^\[(\d+:\d+)\] (.*)$`)

// parse reads one YAML document.
func parse(file string, data []byte) (*node, error) {
	if len(data) > maxFile {
		return nil, fault.Newf(fault.Input, "%s: larger than %d KiB", file, maxFile>>10)
	}
	f, err := parser.ParseBytes(data, 0)
	if err != nil {
		text := strings.TrimSpace(err.Error())
		if m := parserError.FindStringSubmatch(text); m != nil {
			text = m[1] + ": " + m[2]
		} else {
			text = " " + text
		}
		return nil, fault.Newf(fault.Input, "%s:%s", file, text)
	}
	if len(f.Docs) == 0 || len(f.Docs) == 1 && f.Docs[0].Body == nil {
		return nil, fault.New(fault.Input, fmt.Errorf("%s: it is empty", file), "`ingot init` writes a first recipe")
	}
	if len(f.Docs) > 1 {
		return nil, fault.Newf(fault.Input, "%s: holds %d YAML documents, a recipe is one", file, len(f.Docs))
	}
	c := converter{file: file, anchors: map[string]anchor{}}
	return c.convert(f.Docs[0].Body, 0)
}

type converter struct {
	file    string
	anchors map[string]anchor
	nodes   int // so far, those that aliases repeat included
}

// anchor is a value with a name, and of how many values it is made.
type anchor struct {
	value *node
	nodes int
}

func (c *converter) at(n ast.Node) *node {
	p := n.GetToken().Position
	return &node{file: c.file, line: p.Line, column: p.Column}
}

func (c *converter) convert(n ast.Node, depth int) (*node, error) {
	out := c.at(n)
	if c.nodes++; c.nodes > maxNodes || depth > maxDepth {
		return nil, out.errorf("more than %d values or %d levels", maxNodes, maxDepth)
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return out, c.mapping(out, n.Values, depth)
	case *ast.MappingValueNode:
		return out, c.mapping(out, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		out.kind = listNode
		for _, v := range n.Values {
			item, err := c.convert(v, depth+1)
			if err != nil {
				return nil, err
			}
			out.items = append(out.items, item)
		}
		return out, nil
	case *ast.NullNode:
		out.kind = nullNode
		return out, nil
	case *ast.StringNode:
		out.text, out.quoted = n.Value, n.Token.Value != n.Token.Origin && strings.ContainsAny(n.Token.Origin, `"'`)
		return out, nil
	case *ast.LiteralNode:
		out.text, out.quoted = n.Value.Value, true
		return out, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		out.text = n.GetToken().Value
		return out, nil
	case *ast.AnchorNode:
		before := c.nodes
		v, err := c.convert(n.Value, depth)
		if err == nil {
			c.anchors[n.Name.GetToken().Value] = anchor{v, c.nodes - before}
		}
		return v, err
	case *ast.AliasNode:
		a, ok := c.anchors[n.Value.GetToken().Value]
		if !ok {
			return nil, out.errorf("no anchor named %q", n.Value.GetToken().Value)
		}
		if c.nodes += a.nodes; c.nodes > maxNodes {
			return nil, out.errorf("more than %d values, those that aliases repeat included", maxNodes)
		}
		return a.value, nil
	}
	return nil, out.errorf("a recipe has no use for this YAML construct (%s)", n.Type())
}

func (c *converter) mapping(out *node, values []*ast.MappingValueNode, depth int) error {
	out.kind = mapNode
	for _, mv := range values {
		p := mv.Key.GetToken().Position
		if len(out.keys) == 0 && p.Line == out.line && p.Column < out.column { // the parser has a map begin at its first colon
			out.column = p.Column
		}
		name := mv.Key.GetToken().Value
		if _, merge := mv.Key.(*ast.MergeKeyNode); merge {
			return positioned(c.file, p.Line, p.Column, "merge keys are not supported; use include:")
		}
		if out.get(name) != nil {
			return positioned(c.file, p.Line, p.Column, "%q stands here twice", name)
		}
		v, err := c.convert(mv.Value, depth+1)
		if err != nil {
			return err
		}
		out.keys = append(out.keys, key{name: name, line: p.Line, column: p.Column, value: v})
	}
	return nil
}

// merge lays over on top of base: maps are merged key by key, lists are appended, scalars replaced.
func merge(base, over *node) *node {
	switch {
	case base == nil || base.kind == nullNode:
		return over
	case over == nil || over.kind == nullNode:
		return base
	case base.kind == mapNode && over.kind == mapNode:
		out := *over
		out.keys = nil
		for _, k := range base.keys {
			k.value = merge(k.value, over.get(k.name))
			out.keys = append(out.keys, k)
		}
		for _, k := range over.keys {
			if base.get(k.name) == nil {
				out.keys = append(out.keys, k)
			}
		}
		return &out
	case base.kind == listNode && over.kind == listNode:
		out := *over
		out.items = append(append([]*node(nil), base.items...), over.items...)
		return &out
	}
	return over
}
