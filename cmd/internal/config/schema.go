package config

import (
	"embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"
	"time"

	"github.com/invopop/jsonschema"

	"github.com/holdfast-authz/holdfast/cmd/internal/config/strict"
)

// The types' own source: the comments on their fields describe the keys, here
// and in the schema, so that there is one text.
//
//go:embed config.go policy.go
var typesSource embed.FS

// Schema is the JSON Schema (2020-12) of a configuration file. It says less
// than Load: what keys mean together, only Load knows.
func Schema() ([]byte, error) {
	comments, err := fieldComments()
	if err != nil {
		return nil, err
	}
	r := jsonschema.Reflector{
		Anonymous:                  true,
		DoNotReference:             true,
		FieldNameTag:               "yaml",
		RequiredFromJSONSchemaTags: true,
		Mapper:                     mapped,
		LookupComment: func(t reflect.Type, field string) string {
			return comments[t.Name()+"."+field]
		},
	}
	s := r.Reflect(&Config{})
	s.Title = "holdfast.yaml"
	s.Description = "Configuration of holdfast, an Envoy external authorization server."
	if err := complete(s, reflect.TypeFor[Config](), strict.Standard(reflect.TypeFor[Config]())); err != nil {
		return nil, err
	}
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the schema: %w", err)
	}
	return append(out, '\n'), nil
}

// mapped gives the types that are written otherwise than Go holds them.
func mapped(t reflect.Type) *jsonschema.Schema {
	text := &jsonschema.Schema{Type: "string"}
	literal := &jsonschema.Schema{OneOf: []*jsonschema.Schema{text, {Type: "number"}, {Type: "boolean"}}}
	switch t {
	case reflect.TypeFor[time.Duration]():
		return &jsonschema.Schema{Type: "string", Pattern: strict.DurationPattern, Examples: []any{"30s", "12h"}}
	case reflect.TypeFor[OneOf]():
		return oneOrMany(text)
	case reflect.TypeFor[Claims]():
		return &jsonschema.Schema{Type: "object", AdditionalProperties: oneOrMany(literal)}
	case reflect.TypeFor[Destination]():
		file := jsonschema.NewProperties()
		file.Set("file", &jsonschema.Schema{Type: "string", MinLength: new(uint64(1))})
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
			{Type: "string", Enum: []any{"stdout", "stderr"}},
			{Type: "string", Pattern: `^file:\s*\S`},
			{Type: "object", Properties: file, Required: []string{"file"}, AdditionalProperties: jsonschema.FalseSchema},
		}}
	}
	return nil
}

func oneOrMany(item *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{item, {Type: "array", Items: item, MinItems: new(uint64(1))}}}
}

// complete adds to a struct's schema what its tags do not say: defaults, and
// that a required text is not empty.
func complete(s *jsonschema.Schema, t reflect.Type, standard reflect.Value) error {
	for name, f := range strict.Fields(t) {
		property, ok := s.Properties.Get(name)
		if !ok {
			return fmt.Errorf("the schema of %s lacks %s", t.Name(), name)
		}
		value, ft := standard.Field(f.Index), t.Field(f.Index).Type
		switch {
		case ft == reflect.TypeFor[OneOf]() && len(f.Tag.Enum) > 0:
			one := oneOrMany(&jsonschema.Schema{Type: "string", Enum: anys(f.Tag.Enum)})
			property.OneOf, property.Enum = one.OneOf, nil
		case ft.Kind() == reflect.String && f.Tag.Required:
			property.MinLength = new(uint64(1))
		}
		inner, of, with := property, ft, value
		switch {
		case ft.Kind() == reflect.Pointer:
			of = ft.Elem()
			with = strict.Standard(of)
		case ft.Kind() == reflect.Slice && ft.Elem().Kind() == reflect.Struct:
			inner, of = property.Items, ft.Elem()
			with = strict.Standard(of)
		}
		if inner.Properties != nil && of.Kind() == reflect.Struct && of != reflect.TypeFor[Destination]() {
			if err := complete(inner, of, with); err != nil {
				return err
			}
		}
		if ft.Kind() != reflect.Struct && !value.IsZero() {
			plain, err := strict.Plain(value)
			if err != nil {
				return fmt.Errorf("write the default of %s: %w", name, err)
			}
			property.Default = plain
		}
	}
	return nil
}

func anys(words []string) (out []any) {
	for _, w := range words {
		out = append(out, w)
	}
	return out
}

// fieldComments are the comments on fields, as Type.Field.
func fieldComments() (map[string]string, error) {
	out := map[string]string{}
	for _, name := range []string{"config.go", "policy.go"} {
		src, err := typesSource.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read the descriptions: %w", err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("read the descriptions: %w", err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range s.Fields.List {
					for _, id := range f.Names {
						out[spec.Name.Name+"."+id.Name] = strings.TrimSpace(f.Doc.Text())
					}
				}
			}
			return false
		})
	}
	return out, nil
}
