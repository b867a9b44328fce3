package recipe

import (
	"regexp"
	"slices"
	"sort"
	"strings"
)

// maxImages bounds what one matrix may ask for.
const maxImages = 256

var variable = regexp.MustCompile(`\$\{([^}]*)\}`)

// expand returns one tree, and the variables behind it, for each combination of the matrix that sets allows.
// A value in sets replaces a variable, or picks from the matrix.
func expand(doc *node, sets map[string]string) ([]*node, []map[string]string, error) {
	vars, err := stringsOf(doc.get("variables"), "variables")
	if err != nil {
		return nil, nil, err
	}
	combos, axes, err := matrix(doc.get("matrix"), sets)
	if err != nil {
		return nil, nil, err
	}
	for name := range sets {
		if _, ok := vars[name]; !ok && !slices.Contains(axes, name) {
			known := append(append([]string(nil), axes...), names(vars)...)
			return nil, nil, doc.errorf("--set %s: the recipe has no such variable or matrix axis%s", name, suggest(name, known))
		}
	}
	body := doc.drop("variables", "matrix", "include")
	var out []*node
	var chosen []map[string]string
	for _, combo := range combos {
		all := map[string]string{}
		for k, v := range vars {
			all[k] = v
		}
		for k, v := range sets {
			all[k] = v
		}
		for k, v := range combo {
			all[k] = v
		}
		one, err := substitute(body, all)
		if err != nil {
			return nil, nil, err
		}
		out, chosen = append(out, one), append(chosen, all)
	}
	return out, chosen, nil
}

// matrix returns the combinations in the order of the recipe, the last axis turning fastest.
func matrix(n *node, sets map[string]string) (combos []map[string]string, axes []string, err error) {
	combos = []map[string]string{{}}
	if n == nil {
		return combos, nil, nil
	}
	if n.kind != mapNode {
		return nil, nil, n.errorf("matrix: must be a map of lists")
	}
	for _, k := range n.keys {
		if k.value.kind != listNode || len(k.value.items) == 0 {
			return nil, nil, k.value.errorf("matrix.%s: must be a list with at least one value", k.name)
		}
		axes = append(axes, k.name)
		var values []string
		for _, item := range k.value.items {
			if item.kind != scalarNode {
				return nil, nil, item.errorf("matrix.%s: values must be plain", k.name)
			}
			values = append(values, item.text)
		}
		if pick, ok := sets[k.name]; ok {
			if !slices.Contains(values, pick) {
				return nil, nil, k.value.errorf("--set %s=%s: the matrix has %s", k.name, pick, strings.Join(values, ", "))
			}
			values = []string{pick}
		}
		var next []map[string]string
		for _, c := range combos {
			for _, v := range values {
				d := map[string]string{k.name: v}
				for ck, cv := range c {
					d[ck] = cv
				}
				next = append(next, d)
			}
		}
		if combos = next; len(combos) > maxImages {
			return nil, nil, n.errorf("matrix: more than %d images", maxImages)
		}
	}
	return combos, axes, nil
}

// substitute returns a copy of n with every ${name} in a scalar replaced; $${ stands for a literal ${.
func substitute(n *node, vars map[string]string) (*node, error) {
	c := *n
	switch n.kind {
	case scalarNode:
		var bad string
		const guard = "\x00"
		text := strings.ReplaceAll(n.text, "$${", guard)
		text = variable.ReplaceAllStringFunc(text, func(m string) string {
			name := m[2 : len(m)-1]
			v, ok := vars[name]
			if !ok && bad == "" {
				bad = name
			}
			return v
		})
		if bad != "" {
			return nil, n.errorf("no variable named %q%s (write $${ for a literal ${)", bad, suggest(bad, names(vars)))
		}
		c.text = strings.ReplaceAll(text, guard, "${")
	case mapNode:
		c.keys = slices.Clone(n.keys)
		for i := range c.keys {
			v, err := substitute(c.keys[i].value, vars)
			if err != nil {
				return nil, err
			}
			c.keys[i].value = v
		}
	case listNode:
		c.items = make([]*node, len(n.items))
		for i := range n.items {
			v, err := substitute(n.items[i], vars)
			if err != nil {
				return nil, err
			}
			c.items[i] = v
		}
	}
	return &c, nil
}

func stringsOf(n *node, what string) (map[string]string, error) {
	out := map[string]string{}
	if n == nil || n.kind == nullNode {
		return out, nil
	}
	if n.kind != mapNode {
		return nil, n.errorf("%s: must be a map of plain values", what)
	}
	for _, k := range n.keys {
		if k.value.kind != scalarNode {
			return nil, k.value.errorf("%s.%s: must be a plain value", what, k.name)
		}
		out[k.name] = k.value.text
	}
	return out, nil
}

func names(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// suggest returns `; did you mean "x"?` for the nearest known name, or "".
func suggest(got string, known []string) string {
	best, distance := "", 1+len(got)/3
	for _, k := range known {
		d := editDistance(got, k)
		if len(got) >= 3 && strings.HasPrefix(k, got) {
			d = 1
		}
		if d <= distance && (best == "" || d < distance) {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return `; did you mean "` + best + `"?`
}

// editDistance counts the insertions, deletions, replacements and swaps of neighbours between two words.
func editDistance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
