package config

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

// notYet are the keys of the documented format that this version does not
// have. They are refused by name: a demand that is quietly ignored is a hole.
func notYet(t reflect.Type) []string {
	switch t {
	case reflect.TypeFor[Config]():
		return []string{"api_keys", "dpop", "receivers", "cookies", "signals"}
	case reflect.TypeFor[LaterListener]():
		return []string{"tls"}
	case reflect.TypeFor[Issuer]():
		return []string{"status_lists", "introspection", "trust_domain"}
	case reflect.TypeFor[Credential]():
		return []string{"cookie", "kind", "certificate"}
	case reflect.TypeFor[Class]():
		return []string{"idle_timeout", "login_url"}
	case reflect.TypeFor[Route]():
		return []string{"streams"}
	case reflect.TypeFor[Require]():
		return []string{"idle_timeout"}
	case reflect.TypeFor[Feed]():
		return []string{"nats", "snapshot"}
	case reflect.TypeFor[Embedded]():
		return []string{"listen"}
	}
	return nil
}

// decoder fills a Config from the nodes of a file and remembers where each
// value stood, so that what is found out later can be shown at its place.
type decoder struct {
	*source
	values map[string]place // by path, such as classes[0].match.issuers
	keys   map[string]place
	bad    map[string]bool // paths with a problem: nothing more is said about them
	dirty  map[string]bool // paths with a problem at or below them: nothing can be concluded from them
	nodes  int
}

func newDecoder(s *source) *decoder {
	return &decoder{source: s, values: map[string]place{}, keys: map[string]place{}, bad: map[string]bool{}, dirty: map[string]bool{}}
}

// spoil remembers that the value at a path is not what the file meant.
func (d *decoder) spoil(path string) {
	d.bad[path] = true
	for p := path; p != ""; p = parent(p) {
		d.dirty[p] = true
	}
}

// parent is the path of what a value stands in: a.b[1] -> a.b -> a -> "".
func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

// refuse notes a problem with the value at a path.
func (d *decoder) refuse(n *yaml.Node, path, format string, args ...any) {
	d.spoil(path)
	d.add(place{n.Line, n.Column}, format, args...)
}

// decode reads node n into v. The tag is that of v's field.
func (d *decoder) decode(n *yaml.Node, path string, v reflect.Value, tag fieldTag) {
	if d.nodes++; d.nodes > maxNodes {
		if d.nodes == maxNodes+1 {
			d.refuse(n, path, "the file has more than %d values once its aliases are followed", maxNodes)
		}
		d.bad[""] = true
		return
	}
	at := place{n.Line, n.Column}
	if n.Kind == yaml.AliasNode {
		n = n.Alias // its problems are shown at the anchor
	}
	d.values[path] = at
	if !knownTag(n) {
		d.refuse(n, path, "%s has the YAML tag %s: only plain values are read", path, quote(n.Tag))
		return
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		if path == "" {
			d.refuse(n, path, "%s", emptyFile)
			return
		}
		if key, ok := d.keys[path]; ok {
			at = key
		}
		d.spoil(path)
		d.add(at, "%s has no value: give it one or leave it out", path)
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch into := v.Addr().Interface().(type) {
	case *Destination:
		d.destination(n, path, into)
	case *Claims:
		d.claims(n, path, into)
	case *OneOf:
		*into = d.oneOf(n, path, tag, false)
	default:
		switch v.Kind() {
		case reflect.Struct:
			d.mapping(n, path, v)
		case reflect.Slice:
			d.list(n, path, v, tag)
		default:
			d.scalar(n, path, v, tag)
		}
	}
}

func knownTag(n *yaml.Node) bool {
	switch n.ShortTag() {
	case "!!str", "!!int", "!!float", "!!bool", "!!null", "!!timestamp", "!!merge", "!!seq", "!!map":
		return true
	}
	return false
}

// mapping reads a YAML mapping into a struct.
func (d *decoder) mapping(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.refuse(n, path, "%s must be a mapping (key: value), not %s", named(path), describe(n))
		return
	}
	fields := fieldsOf(v.Type())
	later := notYet(v.Type())
	seen := map[string]int{}
	excused := false // from missing keys, because others were meant or wanted
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" {
			d.refuse(key, join(path, "?"), "%s", badKey(key))
			continue
		}
		name, sub := key.Value, join(path, key.Value)
		if line, ok := seen[name]; ok {
			d.spoil(sub)
			d.add(place{key.Line, key.Column}, "duplicate key %s: it is already set in line %d", sub, line)
			continue
		}
		seen[name] = key.Line
		f, ok := fields[name]
		if ok {
			d.keys[sub] = place{key.Line, key.Column}
			d.decode(value, sub, v.Field(f.index), f.tag)
			continue
		}
		if slices.Contains(later, name) {
			excused = true
			d.refuse(key, sub, "%s is not supported by this version of holdfast: remove it", sub)
			continue
		}
		d.unknown(key, path, fieldNames(v.Type()))
	}
	if excused || path == "" {
		return
	}
	for _, name := range fieldNames(v.Type()) {
		if _, ok := seen[name]; !ok && fields[name].tag.required && !d.bad[join(path, name)] {
			d.spoil(join(path, name))
			d.add(place{n.Line, n.Column}, "%s is missing", join(path, name))
		}
	}
}

// unknown refuses a key and, where it can, says which one was meant.
func (d *decoder) unknown(key *yaml.Node, path string, known []string) {
	d.spoil(join(path, key.Value))
	at := place{key.Line, key.Column}
	where := ""
	if path != "" {
		where = " in " + path
	}
	if meant := nearest(key.Value, known); meant != "" {
		d.spoil(join(path, meant)) // it is not missing, it is misspelt
		d.add(at, "unknown key %s%s; did you mean %s?", quote(key.Value), where, meant)
		return
	}
	d.add(at, "unknown key %s%s: it knows %s", quote(key.Value), where, strings.Join(known, ", "))
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

// list reads a YAML sequence into a slice; it replaces the default.
func (d *decoder) list(n *yaml.Node, path string, v reflect.Value, tag fieldTag) {
	if n.Kind != yaml.SequenceNode {
		hint := ""
		if n.Kind == yaml.ScalarNode && v.Type().Elem().Kind() == reflect.String {
			hint = fmt.Sprintf("; write [%s]", n.Value)
		}
		d.refuse(n, path, "%s must be a list, not %s%s", path, describe(n), hint)
		return
	}
	if len(n.Content) == 0 && tag.minItems > 0 {
		d.refuse(n, path, "%s is empty: it needs at least one value", path)
	}
	out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		element := out.Index(i)
		setDefaults(element)
		d.decode(item, fmt.Sprintf("%s[%d]", path, i), element, tag.element())
		if d.nodes > maxNodes {
			break
		}
	}
	v.Set(out)
}

// oneOf reads one text or a list of them. With literal also numbers and
// booleans are taken, as they are written.
func (d *decoder) oneOf(n *yaml.Node, path string, tag fieldTag, literal bool) OneOf {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		if items = n.Content; len(items) == 0 {
			d.refuse(n, path, "%s is an empty list, which nothing can match: leave it out to match everything", path)
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
			d.values[sub] = place{item.Line, item.Column}
			out = append(out, item.Value)
			continue
		}
		if item.Kind != yaml.ScalarNode {
			d.refuse(item, sub, "%s must be a text or a list of texts, not %s", path, describe(item))
			continue
		}
		var s string
		d.decode(item, sub, reflect.ValueOf(&s).Elem(), tag.element())
		out = append(out, s)
		if d.nodes > maxNodes {
			break
		}
	}
	return out
}

func (d *decoder) claims(n *yaml.Node, path string, into *Claims) {
	if n.Kind != yaml.MappingNode {
		d.refuse(n, path, "%s must be a mapping (claim: value), not %s", path, describe(n))
		return
	}
	*into = Claims{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" || key.Value == "" {
			d.refuse(key, join(path, "?"), "%s", badKey(key))
			continue
		}
		sub := join(path, key.Value)
		if first, ok := d.keys[sub]; ok && (*into)[key.Value] != nil {
			d.spoil(sub)
			d.add(place{key.Line, key.Column}, "duplicate key %s: it is already set in line %d", sub, first.line)
			continue
		}
		d.keys[sub] = place{key.Line, key.Column}
		d.values[sub] = place{value.Line, value.Column}
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		(*into)[key.Value] = d.oneOf(value, sub, fieldTag{}, true)
	}
}

// destination reads stdout, stderr, {file: path} or "file: path".
func (d *decoder) destination(n *yaml.Node, path string, into *Destination) {
	if n.Kind == yaml.MappingNode {
		var as struct {
			File string `yaml:"file" jsonschema:"required"`
		}
		d.mapping(n, path, reflect.ValueOf(&as).Elem())
		*into = Destination{File: as.File}
		return
	}
	var s string
	d.decode(n, path, reflect.ValueOf(&s).Elem(), fieldTag{})
	if d.bad[path] {
		return
	}
	file, isFile := strings.CutPrefix(s, "file:")
	switch file = strings.TrimSpace(file); {
	case s == "stdout" || s == "stderr":
		*into = Destination{Stream: s}
	case isFile && file != "":
		*into = Destination{File: file}
	default:
		d.refuse(n, path, "%s is %s: use stdout, stderr or {file: path}%s", path, quote(s), didYouMean(s, []string{"stdout", "stderr"}))
	}
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
	return "the text " + quote(n.Value)
}

func named(path string) string {
	if path == "" {
		return "the configuration"
	}
	return path
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
