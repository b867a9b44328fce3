package asl

import (
	"slices"
	"strings"

	"ingot/internal/factory/flow"
)

// unit is what is one state at the top, or one branch of a parallel one: a step, or several that go through the same list
// one after the other, item by item.
type unit []flow.Step

// name is that of the unit's state. No step has it, where the unit is over a list.
func (u unit) name() string {
	if u.over() != "" {
		return word(u[0].Name) + "_each"
	}
	return word(u[0].Name)
}

// word makes a step's name a word for JSONPath.
func word(step string) string { return strings.ReplaceAll(step, "-", "_") }

func (u unit) over() string { return u[0].Over }

// layout puts the units of a pipeline in rows. All that a unit waits for is in earlier rows; what is in one row runs side by
// side.
func layout(p *flow.Pipeline) [][]unit {
	var rows [][]unit
	at := map[string]int{} // row by step
	for _, s := range p.Steps {
		if u := chain(rows, at, s); u != nil {
			at[s.Name] = at[(*u)[0].Name]
			*u = append(*u, s)
			continue
		}
		row := 0
		for _, a := range s.After {
			row = max(row, at[a]+1)
		}
		if row == len(rows) {
			rows = append(rows, nil)
		}
		rows[row] = append(rows[row], unit{s})
		at[s.Name] = row
	}
	return rows
}

// chain finds the unit whose items a step can go on with: one over the same list that it waits for, where all else that it
// waits for is done before.
func chain(rows [][]unit, at map[string]int, s flow.Step) *unit {
	if s.Over == "" {
		return nil
	}
	for r, row := range rows {
		for i := range row {
			in := func(name string) bool {
				return slices.ContainsFunc(row[i], func(x flow.Step) bool { return x.Name == name })
			}
			if row[i].over() == s.Over && slices.ContainsFunc(s.After, in) &&
				!slices.ContainsFunc(s.After, func(a string) bool { return !in(a) && at[a] >= r }) {
				return &rows[r][i]
			}
		}
	}
	return nil
}

// places says where the result of each step is in the state of the machine, from the row on that comes after it.
func places(rows [][]unit) map[string][]any {
	all := map[string][]any{}
	for _, row := range rows {
		for i, u := range row {
			for _, s := range u {
				at := []any{rowName(row)}
				if len(row) > 1 {
					at = append(at, i)
				}
				if u.over() != "" {
					at = append(at, Each, word(s.Name))
				}
				all[s.Name] = at
			}
		}
	}
	return all
}

// Each stands in a place for all elements of a list.
const Each = "*"
