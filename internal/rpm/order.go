package rpm

import (
	"fmt"
	"math"
	"slices"
)

// Order returns packages, all for one transaction that installs them, in the order in which rpm installs them when it is
// given them in the order of the argument (rpmtsOrder of rpm 4.18's lib/order.c; 4.8 differs in weak and reverse relations,
// which its packages do not have). What a package requires comes before it; where requirements go round in a circle, the one
// that gives way is the farthest from what a script needs.
func Order(packages []*Package) ([]*Package, error) {
	o := orderer{nodes: make([]*node, len(packages))}
	at := make(map[*Package]*node, len(packages))
	wanted := make(map[string]bool) // names of relations
	for i, p := range packages {
		relations, err := p.ordering()
		if err != nil {
			return nil, fmt.Errorf("package %s: %w", p, err)
		}
		for _, r := range relations {
			wanted[r.Name] = true
		}
		o.nodes[i] = &node{pkg: p, relations: relations}
		at[p] = o.nodes[i]
	}
	providers := newProviders(packages, wanted)
	for _, n := range o.nodes {
		n.color = providers.colors[n.pkg]
		n.relate(providers, at)
	}
	o.findCircles()
	var queue []*node
	for _, n := range o.nodes {
		if n.needs == 0 {
			queue = enqueue(queue, n)
		}
	}
	for _, c := range o.circles {
		if c.needs == 0 {
			queue = enqueue(queue, c.members[0])
		}
	}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		if n.circle != nil {
			o.takeCircle(n.circle, &queue)
		} else {
			o.take(n, &queue, nil)
		}
	}
	return o.order, nil
}

type orderer struct {
	nodes   []*node
	circles []*circle
	order   []*Package
}

// node is a package on its way into the order.
type node struct {
	pkg       *Package
	relations []ordering
	color     uint32
	needs     int    // packages that it requires and that are not in the order yet
	wanted    int    // packages that require it
	by        []edge // those, and
	requires  []edge // what it requires: the newest first is how rpm looks at them
	circle    *circle
	taken     bool

	index, low int // of Tarjan's search
	distance   int // from what a script needs, within a circle
}

type edge struct {
	to    *node
	first bool // a script needs it
}

// circle is a set of packages that require each other, directly or not (a strongly connected component).
type circle struct {
	members []*node
	needs   int // relations to packages outside that are not in the order yet
}

// relate notes what a package requires of the others.
func (n *node) relate(providers *providers, at map[*Package]*node) {
	for _, r := range n.relations {
		q := at[providers.find(n.pkg, r)]
		if q == nil || q == n {
			continue
		}
		first := !r.weak && (r.Sense&(SensePre|SensePost|SenseRPMLib|SenseKeyring|SensePreTrans|SensePostTrans) != 0 || r.Sense.legacyPre())
		switch m := len(n.requires); {
		case !r.reverse:
			require(n, q, first)
		case m == 0 || n.requires[m-1].to != q: // else the opposite counts, as it was there before
			link(q, n, first)
		}
	}
}

// require notes that a requires b, which it may have said just before.
func require(a, b *node, first bool) {
	if n := len(b.by); n > 0 && b.by[n-1].to == a {
		b.by[n-1].first = b.by[n-1].first || first
		i := slices.IndexFunc(a.requires, func(e edge) bool { return e.to == b })
		a.requires[i].first = a.requires[i].first || first
		return
	}
	link(a, b, first)
}

func link(a, b *node, first bool) {
	a.needs++
	b.wanted++
	a.requires = append(a.requires, edge{b, first})
	b.by = append(b.by, edge{a, first})
}

// preferred is the color of ELF files for 64 bits.
const preferred = 2

// enqueue puts a package before the first that as few others want, but one with files for 32 bits behind those without.
func enqueue(queue []*node, n *node) []*node {
	late := n.color != 0 && n.color != preferred
	i := slices.IndexFunc(queue, func(q *node) bool { return (!late || q.color == n.color) && q.wanted <= n.wanted })
	if i < 0 {
		i = len(queue)
	}
	return slices.Insert(queue, i, n)
}

// take appends a package to the order, and those to a queue that lacked it alone: to outer those outside of its circle.
func (o *orderer) take(n *node, queue, outer *[]*node) {
	o.order = append(o.order, n.pkg)
	for _, e := range slices.Backward(n.by) {
		p := e.to
		if p.taken {
			continue
		}
		if p.needs--; p.needs == 0 {
			if n.circle != nil && n.circle != p.circle {
				*outer = enqueue(*outer, p)
			} else {
				*queue = enqueue(*queue, p)
			}
		}
		if p.circle == nil || p.circle == n.circle {
			continue
		}
		if p.circle.needs--; p.circle.needs == 0 {
			if outer != nil {
				*outer = enqueue(*outer, p)
			} else {
				*queue = enqueue(*queue, p)
			}
		}
	}
	n.taken = true
}

// takeCircle appends the packages of a circle to the order, beginning with what is farthest from where a script needs one of
// them, with all that this sets free.
func (o *orderer) takeCircle(c *circle, outer *[]*node) {
	c.measure()
	for {
		var best *node
		for _, n := range c.members {
			if !n.taken && (best == nil || n.distance >= best.distance) {
				best = n
			}
		}
		if best == nil {
			return
		}
		for queue := []*node{best}; len(queue) > 0; {
			n := queue[0]
			queue = queue[1:]
			o.take(n, &queue, outer)
		}
	}
}

// measure sets how far each member is from one with a script that needs another member.
func (c *circle) measure() {
	var queue []*node
	for _, n := range c.members {
		n.distance = math.MaxInt
		if slices.ContainsFunc(n.requires, func(e edge) bool { return e.first && e.to.circle == c }) {
			n.distance = 0
			queue = append(queue, n)
		}
	}
	for ; len(queue) > 0; queue = queue[1:] {
		n := queue[0]
		for _, e := range slices.Backward(n.requires) {
			if e.to.circle == c && e.to.distance > n.distance+1 {
				e.to.distance = n.distance + 1
				queue = append(queue, e.to)
			}
		}
	}
}

// findCircles is Tarjan's algorithm.
func (o *orderer) findCircles() {
	var stack []*node
	count := 0
	onStack := make(map[*node]bool)
	var visit func(n *node)
	visit = func(n *node) {
		count++
		n.index, n.low = count, count
		stack, onStack[n] = append(stack, n), true
		for _, e := range slices.Backward(n.by) {
			if e.to.index == 0 {
				visit(e.to)
				n.low = min(n.low, e.to.low)
			} else if onStack[e.to] {
				n.low = min(n.low, e.to.index)
			}
		}
		if n.low != n.index {
			return
		}
		i := slices.Index(stack, n)
		members := slices.Clone(stack[i:])
		stack = stack[:i]
		for _, m := range members {
			delete(onStack, m)
		}
		if len(members) > 1 {
			o.circles = append(o.circles, newCircle(members))
		}
	}
	for _, n := range o.nodes {
		if n.index == 0 {
			visit(n)
		}
	}
}

func newCircle(members []*node) *circle {
	c := &circle{members: members}
	for _, m := range members {
		m.circle = c
	}
	for _, m := range members {
		for _, e := range m.requires {
			if e.to.circle != c {
				c.needs++
			}
		}
	}
	return c
}
