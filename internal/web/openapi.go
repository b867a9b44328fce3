package web

import (
	"encoding/json"
	"regexp"
	"strings"

	"github.com/invopop/jsonschema"
)

// object is a JSON object; encoding sorts its members.
type object map[string]any

// openapi describes the endpoints for programs, as OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0).
func (s *server) openapi(*query) (*answer, error) { return asJSON(describe(s.o.Title)) }

func describe(title string) object {
	paths := object{}
	for _, e := range endpoints() {
		if e.page {
			continue
		}
		path := strings.ReplaceAll(e.path, "{$}", "")
		paths[path] = object{"get": operation(e)}
	}
	return object{
		"openapi": "3.1.0",
		"info": object{"title": title + ": the catalogue of machine images", "version": "1",
			"description": "Everything is read-only and public. Answers have an ETag, and are compressed with gzip or zstd for who takes that."},
		"paths":      paths,
		"components": object{"schemas": object{"problem": schema(problem{})}},
	}
}

func operation(e *endpoint) object {
	var parameters []object
	for _, name := range e.inPath() {
		parameters = append(parameters, parameter(name, "path"))
	}
	for _, name := range e.query {
		parameters = append(parameters, parameter(name, "query"))
	}
	content := object{"schema": object{"type": "string"}}
	switch {
	case e.of != nil:
		content = object{"schema": schema(e.of)}
	case e.kind == "*/*":
		content = object{}
	}
	media, _, _ := strings.Cut(e.kind, ";")
	o := object{
		"operationId": e.id, "summary": e.summary,
		"responses": object{
			"200":     object{"description": "The answer", "content": object{media: content}},
			"304":     object{"description": "The client has it: its ETag stands in If-None-Match"},
			"default": object{"description": "An error", "content": object{"application/problem+json": object{"schema": object{"$ref": "#/components/schemas/problem"}}}},
		},
	}
	if len(parameters) > 0 {
		o["parameters"] = parameters
	}
	if e.id == "ready" {
		o["responses"].(object)["503"] = object{"description": "It cannot be read", "content": object{media: content}}
	}
	return o
}

func parameter(name, place string) object {
	p := params[name]
	s := object{"type": "string", "maxLength": maxValue}
	if p.max > 0 {
		s["maxLength"] = p.max
	}
	switch {
	case p.number:
		s = object{"type": "integer", "minimum": 1}
	case len(p.enum) > 0:
		s = object{"type": "string", "enum": p.enum}
	case p.pattern != "" && place == "path":
		s["pattern"] = "^(?:" + p.pattern + ")$"
	}
	o := object{"name": name, "in": place, "description": p.description, "schema": s}
	if place == "path" {
		o["required"] = true
	}
	return o
}

// anyMember is how the reflector says what holds anyway.
var anyMember = regexp.MustCompile(`"additionalProperties":true,?`)

// schema returns the JSON Schema of what a value of a type looks like.
func schema(v any) any {
	r := &jsonschema.Reflector{DoNotReference: true, Anonymous: true, AllowAdditionalProperties: true, ExpandedStruct: true}
	s := r.Reflect(v)
	s.Version = ""
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // the types are constants of the program
	}
	var o any
	if err := json.Unmarshal(anyMember.ReplaceAll(text, nil), &o); err != nil {
		panic(err)
	}
	return o
}
