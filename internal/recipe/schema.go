package recipe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// document is what a recipe's file may hold: a Recipe, and what [Load] resolves beforehand.
type document struct {
	Include   []string          `json:"include,omitempty" jsonschema:"description=Recipes to build on\\, relative to this one: maps are merged\\, lists appended\\, values replaced"`
	Variables map[string]string `json:"variables,omitempty" jsonschema:"description=Values for ${name}\\, which --set can replace"`
	Matrix    map[string][]any  `json:"matrix,omitempty" jsonschema:"description=One image for each combination; each axis is a variable\\, and --set picks from it"`
	Recipe
}

func reflector() *jsonschema.Reflector {
	return &jsonschema.Reflector{RequiredFromJSONSchemaTags: true, DoNotReference: true, Anonymous: true}
}

// Schema returns the JSON Schema (2020-12) of a recipe's file, for editors. A text that holds a ${variable}
// passes wherever a pattern or a choice is asked for, since its value is not known before [Load].
func Schema() []byte {
	s := reflector().Reflect(&document{})
	s.Title = "ingot recipe"
	s.Required = nil // an included file may lack what the including one has
	relax(s)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(s); err != nil {
		panic(err) // the schema is a constant of the program
	}
	return b.Bytes()
}

func relax(s *jsonschema.Schema) {
	if s.Type == "string" && (s.Pattern != "" || len(s.Enum) > 0) {
		strict := &jsonschema.Schema{Pattern: s.Pattern, Enum: s.Enum}
		s.AnyOf = []*jsonschema.Schema{strict, {Pattern: `\$\{`}}
		s.Pattern, s.Enum = "", nil
	}
	if s.Items != nil {
		relax(s.Items)
	}
	if s.Properties != nil {
		for p := s.Properties.Oldest(); p != nil; p = p.Next() {
			relax(p.Value)
		}
	}
}

// strict is the compiled schema of one expanded recipe.
var strict = sync.OnceValue(func() *validator.Schema {
	text, err := json.Marshal(reflector().Reflect(&Recipe{}))
	if err == nil {
		var doc any
		if doc, err = validator.UnmarshalJSON(bytes.NewReader(text)); err == nil {
			c := validator.NewCompiler()
			if err = c.AddResource("recipe.json", doc); err == nil {
				var s *validator.Schema
				if s, err = c.Compile("recipe.json"); err == nil {
					return s
				}
			}
		}
	}
	panic(fmt.Sprintf("recipe: the schema of Recipe does not compile: %v", err))
})

// constrain checks the patterns, choices and bounds that Recipe's tags state, and returns every violation
// with its position in the source.
func constrain(r *Recipe, n *node) error {
	text, err := json.Marshal(r)
	if err != nil {
		return n.errorf("%v", err)
	}
	doc, err := validator.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return n.errorf("%v", err)
	}
	var invalid *validator.ValidationError
	if err := strict().Validate(doc); !errors.As(err, &invalid) {
		return err
	}
	var all []error
	printer := message.NewPrinter(language.English)
	var visit func(e *validator.ValidationError)
	visit = func(e *validator.ValidationError) {
		if len(e.Causes) == 0 {
			at, path := locate(n, e.InstanceLocation)
			all = append(all, at.errorf("%s: %s", orTop(path), e.ErrorKind.LocalizedString(printer)))
		}
		for _, c := range e.Causes {
			visit(c)
		}
	}
	visit(invalid)
	return errors.Join(all...)
}

// locate follows a JSON pointer as far as the source goes.
func locate(n *node, pointer []string) (*node, string) {
	var path strings.Builder
	for _, p := range pointer {
		var next *node
		switch n.kind {
		case mapNode:
			next = n.get(p)
			if path.Len() > 0 {
				path.WriteByte('.')
			}
			path.WriteString(p)
		case listNode:
			if i, err := strconv.Atoi(p); err == nil && i < len(n.items) {
				next = n.items[i]
			}
			path.WriteString("[" + p + "]")
		}
		if next == nil {
			break
		}
		n = next
	}
	return n, path.String()
}
