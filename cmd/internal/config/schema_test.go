package config

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	raw, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("holdfast.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := compiler.Compile("holdfast.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON is a YAML file as a JSON tool sees it.
func asJSON(src []byte) (any, error) {
	var v any
	if err := yaml.Load(src, &v); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(raw))
}

func TestSchemaTakesGood(t *testing.T) {
	s := compiledSchema(t)
	for name, src := range good(t) {
		doc, err := asJSON(src)
		if err != nil {
			t.Fatal(name, err)
		}
		if err := s.Validate(doc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		out, err := mustParse(t, src).YAML(true)
		if err != nil {
			t.Fatal(err)
		}
		if doc, err = asJSON(out); err != nil {
			t.Fatal(name, err)
		}
		if err := s.Validate(doc); err != nil {
			t.Errorf("%s, effective: %v", name, err)
		}
	}
}

// TestSchemaRefusesBad: unknown keys, wrong types and wrong words, which the
// schema can know. The other files are about what only Load knows.
func TestSchemaRefusesBad(t *testing.T) {
	s := compiledSchema(t)
	onlyLoad := []string{
		"keys/duplicate", "keys/duplicate-three", "keys/duplicate-claim", "keys/complex-key", "keys/no-value",
		"values/duration-zero", "values/control", "values/wide", "values/duration-overflow", "values/int-hex",
		"values/version-float", // 1.0 is an integer in JSON
	}
	refused := 0
	for _, file := range []string{"keys", "values"} {
		archive, err := txtar.ParseFile(filepath.Join("testdata/bad", file+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			name := file + "/" + strings.TrimSuffix(strings.TrimSuffix(f.Name, ".yaml"), ".part")
			if strings.HasSuffix(f.Name, ".out") || slices.Contains(onlyLoad, name) {
				continue
			}
			src := f.Data
			if strings.HasSuffix(f.Name, ".part") {
				src = append(bytes.Clone(src), minimal...)
			}
			doc, err := asJSON(src)
			if err != nil {
				continue // no JSON can say that
			}
			if s.Validate(doc) == nil {
				t.Errorf("%s: the schema accepts it", name)
			}
			refused++
		}
	}
	if refused < 40 {
		t.Errorf("only %d files", refused)
	}
}

// TestSchemaDescribes: every key has a description, and every key with a
// default says so.
func TestSchemaDescribes(t *testing.T) {
	raw, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(raw, &root); err != nil {
		t.Fatal(err)
	}
	if got := root["$schema"]; got != "https://json-schema.org/draft/2020-12/schema" {
		t.Errorf("$schema %v", got)
	}
	keys := 0
	var walk func(path string, s map[string]any)
	walk = func(path string, s map[string]any) {
		if items, ok := s["items"].(map[string]any); ok {
			walk(path+"[]", items)
		}
		properties, _ := s["properties"].(map[string]any)
		if properties != nil && s["additionalProperties"] != false {
			t.Errorf("%s takes unknown keys", path)
		}
		for name, p := range properties {
			keys++
			property := p.(map[string]any)
			if property["description"] == nil {
				t.Errorf("%s.%s has no description", path, name)
			}
			walk(path+"."+name, property)
		}
	}
	walk("", root)
	if keys < 90 {
		t.Errorf("only %d keys", keys)
	}
	get := func(path ...string) any {
		v := any(root)
		for _, p := range path {
			v = v.(map[string]any)[p]
		}
		return v
	}
	if got := get("properties", "cache", "properties", "negative", "properties", "max_mb", "default"); got != 8.0 {
		t.Errorf("default of cache.negative.max_mb: %v", got)
	}
	if got := get("properties", "feed", "properties", "retention", "default"); got != "720h" {
		t.Errorf("default of feed.retention: %v", got)
	}
}

// allKeys are the keys of the format, each once.
func allKeys() []string {
	seen := map[string]bool{}
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return
		}
		for i := range t.NumField() {
			if name, ok := t.Field(i).Tag.Lookup("yaml"); ok {
				seen[name] = true
				walk(t.Field(i).Type)
			}
		}
	}
	walk(reflect.TypeFor[Config]())
	var keys []string
	for key := range seen {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
