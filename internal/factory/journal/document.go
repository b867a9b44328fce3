package journal

import "encoding/json"

// document is what a step is given.
func document(r *Run, s Step, steps []Step) (json.RawMessage, error) {
	def, _ := r.Flow.Step(s.Name)
	doc := map[string]any{"input": r.Input}
	if s.Item != "" {
		doc["item"] = s.Item
	}
	for _, before := range r.Flow.Steps {
		if !r.Flow.Waits(s.Name, before.Name) || before.Gate {
			continue
		}
		list := []json.RawMessage{}
		for _, x := range steps {
			if x.Name != before.Name || x.Output == nil {
				continue
			}
			if list = append(list, x.Output); before.Over == "" || before.Over == def.Over && x.Item == s.Item {
				doc[before.Name] = x.Output
			}
		}
		if before.Over != "" && before.Over != def.Over {
			doc[before.Name] = list
		}
	}
	return json.Marshal(doc)
}
