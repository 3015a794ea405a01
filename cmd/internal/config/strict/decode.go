package strict

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxNodes bounds the nodes that are read, each use of an alias counted: a
// small file can stand for a huge one ("billion laughs").
const maxNodes = 50_000

// afford counts a node. Where there are too many the whole file is refused.
func (f *File) afford(n *yaml.Node, path string) bool {
	if f.nodes++; f.nodes <= maxNodes {
		return true
	}
	if f.nodes == maxNodes+1 {
		f.Refuse(n, path, "the file has more than %d values once its aliases are followed", maxNodes)
	}
	f.refused[""] = true
	return false
}

// decode reads node n into v. The tag is that of v's field.
func (f *File) decode(n *yaml.Node, path string, v reflect.Value, tag Tag) {
	if !f.afford(n, path) {
		return
	}
	at := place{n.Line, n.Column}
	if n.Kind == yaml.AliasNode {
		n = n.Alias // its problems are shown at the anchor
	}
	f.values[path] = at
	if !knownTag(n) {
		f.Refuse(n, path, "%s has the YAML tag %s: only plain values are read", path, Quote(n.Tag))
		return
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		if path == "" {
			f.Refuse(n, path, "%s", emptyFile)
			return
		}
		if key, ok := f.keys[path]; ok {
			at = key
		}
		f.spoil(path)
		f.add(at, "%s has no value: give it one or leave it out", path)
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
		SetDefaults(v)
	}
	switch into := v.Addr().Interface().(type) {
	case Decoder:
		into.DecodeNode(f, n, path)
	case *OneOf:
		*into = f.oneOf(n, path, tag, false)
	default:
		switch v.Kind() {
		case reflect.Struct:
			f.mapping(n, path, v)
		case reflect.Slice:
			f.list(n, path, v, tag)
		default:
			f.scalar(n, path, v, tag)
		}
	}
}

func notYet(v reflect.Value) []string {
	if p, ok := v.Addr().Interface().(Partial); ok {
		return p.NotYet()
	}
	return nil
}

func knownTag(n *yaml.Node) bool {
	switch n.ShortTag() {
	case "!!str", "!!int", "!!float", "!!bool", "!!null", "!!timestamp", "!!merge", "!!seq", "!!map":
		return true
	}
	return false
}

// mapping reads a YAML mapping into a struct.
func (f *File) mapping(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		f.Refuse(n, path, "%s must be a mapping (key: value), not %s", named(path), describe(n))
		return
	}
	fields := f.fields(v.Type())
	later := notYet(v)
	seen := map[string]int{}
	excused := false // from missing keys, because others were meant or wanted
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" {
			f.Refuse(key, Join(path, "?"), "%s", badKey(key))
			continue
		}
		name, sub := key.Value, Join(path, key.Value)
		if line, ok := seen[name]; ok {
			f.spoil(sub)
			f.add(place{key.Line, key.Column}, "duplicate key %s: it is already set in line %d", sub, line)
			continue
		}
		seen[name] = key.Line
		if field, ok := fields[name]; ok {
			f.keys[sub] = place{key.Line, key.Column}
			f.decode(value, sub, v.Field(field.Index), field.Tag)
			continue
		}
		if slices.Contains(later, name) {
			excused = true
			f.Refuse(key, sub, "%s is not supported by this version of holdfast: remove it", sub)
			continue
		}
		f.unknown(key, path, keysOf(v.Type()))
	}
	if excused || path == "" {
		return
	}
	for _, name := range keysOf(v.Type()) {
		if _, ok := seen[name]; !ok && fields[name].Tag.Required && !f.refused[Join(path, name)] {
			f.spoil(Join(path, name))
			f.add(place{n.Line, n.Column}, "%s is missing", Join(path, name))
		}
	}
}

func (f *File) fields(t reflect.Type) map[string]Field {
	if f.types[t] == nil {
		f.types[t] = Fields(t)
	}
	return f.types[t]
}

// unknown refuses a key and, where it can, says which one was meant.
func (f *File) unknown(key *yaml.Node, path string, known []string) {
	f.spoil(Join(path, key.Value))
	at := place{key.Line, key.Column}
	where := ""
	if path != "" {
		where = " in " + path
	}
	if meant := nearest(key.Value, known); meant != "" {
		f.spoil(Join(path, meant)) // it is not missing, it is misspelt
		f.add(at, "unknown key %s%s; did you mean %s?", Quote(key.Value), where, meant)
		return
	}
	f.add(at, "unknown key %s%s: it knows %s", Quote(key.Value), where, strings.Join(known, ", "))
}

func badKey(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!merge" {
		return "merge keys (<<) are not supported: write the keys out"
	}
	hint := ""
	if n.Kind == yaml.ScalarNode {
		hint = ": put it in quotes if it is one"
	}
	return fmt.Sprintf("a key must be a name, not %s%s", describe(n), hint)
}

// Struct reads a mapping into a struct that v points to, and Text a text, for
// Decoders.
func (f *File) Struct(n *yaml.Node, path string, v any) {
	f.mapping(n, path, reflect.ValueOf(v).Elem())
}

// Text reads a text; see Struct.
func (f *File) Text(n *yaml.Node, path string) (s string, ok bool) {
	f.decode(n, path, reflect.ValueOf(&s).Elem(), Tag{})
	return s, !f.refused[path]
}

// Entries reads a mapping with keys of the file's choice, for Decoders.
func (f *File) Entries(n *yaml.Node, path string, entry func(key, path string, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		f.Refuse(n, path, "%s must be a mapping (key: value), not %s", path, describe(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" || key.Value == "" {
			f.Refuse(key, Join(path, "?"), "%s", badKey(key))
			continue
		}
		sub := Join(path, key.Value)
		if line, twice := seen[key.Value]; twice {
			f.Refuse(key, sub, "duplicate key %s: it is already set in line %d", sub, line)
			continue
		}
		seen[key.Value] = key.Line
		f.keys[sub] = place{key.Line, key.Column}
		f.values[sub] = place{value.Line, value.Column}
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		entry(key.Value, sub, value)
	}
}

// list reads a YAML sequence into a slice; it replaces the default.
func (f *File) list(n *yaml.Node, path string, v reflect.Value, tag Tag) {
	if n.Kind != yaml.SequenceNode {
		hint := ""
		if n.Kind == yaml.ScalarNode && v.Type().Elem().Kind() == reflect.String {
			hint = fmt.Sprintf("; write [%s]", n.Value)
		}
		f.Refuse(n, path, "%s must be a list, not %s%s", path, describe(n), hint)
		return
	}
	if len(n.Content) == 0 && tag.MinItems > 0 {
		f.Refuse(n, path, "%s is empty: it needs at least one value", path)
	}
	out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		element := out.Index(i)
		SetDefaults(element)
		f.decode(item, fmt.Sprintf("%s[%d]", path, i), element, tag.element())
		if f.nodes > maxNodes {
			break
		}
	}
	v.Set(out)
}

// OneOf reads one value or a list of them. Other than in a field of this type
// numbers and booleans are taken too, as they are written.
func (f *File) OneOf(n *yaml.Node, path string) OneOf { return f.oneOf(n, path, Tag{}, true) }

func (f *File) oneOf(n *yaml.Node, path string, tag Tag, literal bool) OneOf {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		if items = n.Content; len(items) == 0 {
			f.Refuse(n, path, "%s is an empty list, which nothing can match: leave it out to match everything", path)
			return nil
		}
	}
	out := make(OneOf, 0, len(items))
	for i, item := range items {
		sub := path
		if n.Kind == yaml.SequenceNode {
			sub = fmt.Sprintf("%s[%d]", path, i)
		}
		if item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		if literal && item.Kind == yaml.ScalarNode && slices.Contains([]string{"!!int", "!!float", "!!bool"}, item.ShortTag()) {
			if !f.afford(item, sub) {
				break
			}
			f.values[sub] = place{item.Line, item.Column}
			out = append(out, item.Value)
			continue
		}
		if item.Kind != yaml.ScalarNode {
			f.Refuse(item, sub, "%s must be a text or a list of texts, not %s", path, describe(item))
			continue
		}
		var s string
		f.decode(item, sub, reflect.ValueOf(&s).Elem(), tag.element())
		out = append(out, s)
		if f.nodes > maxNodes {
			break
		}
	}
	return out
}

// describe says what a node is, for "must be a list, not ...".
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "a mapping"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!int":
		return "the number " + n.Value
	case "!!float":
		if strings.ContainsAny(n.Value, "nN") { // .inf, .nan
			return n.Value
		}
		return "the number " + n.Value
	case "!!bool":
		return n.Value
	}
	return "the text " + Quote(n.Value)
}

func named(path string) string {
	if path == "" {
		return "the configuration"
	}
	return path
}
