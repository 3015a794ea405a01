// Package strict reads a YAML file into a struct and finds everything that is
// wrong with it at once, each with its place.
//
// Parse fills a struct by its tags and notes unknown, duplicate and missing
// keys, wrong types and words. What the values mean together is looked at by
// the caller, who notes more with Say; a value that was refused once is not
// complained about again. Problems gives them all, from top to bottom.
//
//	type Door struct {
//		Name string        `yaml:"name" jsonschema:"required"`
//		Mode string        `yaml:"mode" jsonschema:"enum=open,enum=shut" later:"ajar"`
//		Wait time.Duration `yaml:"wait"`
//	}
//
// A path names a value: doors[0].name. A field is a struct or a pointer to one,
// a list of structs or strings, a string, bool, int, float64, time.Duration,
// OneOf, or a type that is a Decoder. The jsonschema tags are those that
// invopop/jsonschema reads, so that a schema and this package demand the same.
package strict

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Defaulter is a struct that knows what its keys mean when they are left out.
type Defaulter interface{ SetDefaults() }

// Partial is a struct with keys of the documented format that this version
// does not have. They are refused by name: a demand that is quietly ignored is
// a hole.
type Partial interface{ NotYet() []string }

// Decoder is a type that reads its own node. Encoder is the way back.
type (
	Decoder interface {
		DecodeNode(f *File, n *yaml.Node, path string)
	}
	Encoder interface{ EncodeNode() *yaml.Node }
)

// OneOf is one value or a list of values of which one must hold; nil is any.
type OneOf []string

// place is where something stands in a file.
type place struct{ line, column int }

// File is a file that was read: what it sets, where, and what is wrong with it.
type File struct {
	name     string
	lines    []string
	problems []Problem
	more     int // problems beyond maxKept

	values  map[string]place // by path
	keys    map[string]place
	refused map[string]bool // paths with a problem: nothing more is said about them
	dirty   map[string]bool // paths with a problem at or below them
	nodes   int
	usable  bool

	types map[reflect.Type]map[string]Field // tags that were read already
}

// Parse reads a file into a struct that v points to, after giving it its
// defaults.
func Parse(name string, raw []byte, v any) *File {
	text := strings.TrimPrefix(string(raw), "\ufeff")
	f := &File{
		name: name, lines: splitLines(text),
		values: map[string]place{}, keys: map[string]place{}, refused: map[string]bool{}, dirty: map[string]bool{},
		types: map[reflect.Type]map[string]Field{},
	}
	into := reflect.ValueOf(v).Elem()
	SetDefaults(into)
	if root := f.document(text); root != nil {
		f.decode(root, "", into, Tag{})
		f.usable = !f.refused[""]
	}
	return f
}

// Usable tells whether the file could be read to its end, so that it makes
// sense to look at what it means.
func (f *File) Usable() bool { return f.usable }

// Given tells whether the file sets a key.
func (f *File) Given(path string) bool {
	_, ok := f.keys[path]
	return ok
}

// Has tells whether the file has a value, or an element of a list, at a path.
func (f *File) Has(path string) bool {
	_, ok := f.values[path]
	return ok
}

// Line is the line in which a key is set; ok is false where it is not.
func (f *File) Line(path string) (line int, ok bool) {
	at, ok := f.keys[path]
	return at.line, ok
}

// Refused tells whether something was said about the value at a path.
func (f *File) Refused(path string) bool { return f.refused[path] }

// Clean tells whether nothing at or below a path was refused: only then can
// anything be concluded from it.
func (f *File) Clean(path string) bool { return !f.dirty[path] }

// Say notes a problem with the value at a path, or, where the file has none,
// with what it would stand in. It is silent where that is refused already.
func (f *File) Say(path, format string, args ...any) {
	for p := path; ; p = Parent(p) {
		if f.refused[p] {
			return
		}
		if p == "" {
			break
		}
	}
	f.spoil(path)
	for p := path; ; p = Parent(p) {
		if at, ok := f.values[p]; ok {
			f.add(at, format, args...)
			return
		}
		if p == "" {
			f.add(place{1, 1}, format, args...)
			return
		}
	}
}

// Note is a remark about the value at a path, which is no problem of the file.
func (f *File) Note(path, format string, args ...any) Problem {
	p := Problem{File: f.name, Message: strings.Map(printable, fmt.Sprintf(format, args...))}
	if at, ok := f.values[path]; ok {
		p.Line, p.Column = at.line, at.column
		p.Text = password.ReplaceAllStringFunc(f.lines[at.line-1], mask)
	}
	return p
}

// Refuse notes a problem with a node, for Decoders.
func (f *File) Refuse(n *yaml.Node, path, format string, args ...any) {
	f.spoil(path)
	f.add(place{n.Line, n.Column}, format, args...)
}

// spoil remembers that the value at a path is not what the file meant.
func (f *File) spoil(path string) {
	f.refused[path] = true
	for p := path; p != ""; p = Parent(p) {
		f.dirty[p] = true
	}
}

func (f *File) add(at place, format string, args ...any) {
	if len(f.problems) >= maxKept {
		f.more++
		return
	}
	message := strings.Map(printable, fmt.Sprintf(format, args...))
	f.problems = append(f.problems, Problem{File: f.name, Line: at.line, Column: at.column, Message: message})
}

// Problems are what is wrong, from the top of the file to its end, without
// those that say the same of the same place (an anchor that is used twice).
func (f *File) Problems() []Problem {
	slices.SortStableFunc(f.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	out := slices.Compact(slices.Clone(f.problems))
	if more := len(out) - maxProblems; more > 0 {
		last := out[maxProblems]
		last.Message = fmt.Sprintf("and %d more problems from here on: mend those above first", more+f.more)
		out = append(out[:maxProblems:maxProblems], last)
	}
	for i := range out {
		if line := out[i].Line; line >= 1 && line <= len(f.lines) {
			out[i].Text = password.ReplaceAllStringFunc(f.lines[line-1], mask)
		}
	}
	return out
}

// Parent is the path of what a value stands in: a.b[1] -> a.b -> a -> "".
func Parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

// Join is the path of a key in what stands at a path.
func Join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// SetDefaults gives a struct, and the structs inside it, their defaults. Lists
// stay empty: their elements get theirs when they are read.
func SetDefaults(v reflect.Value) {
	if v.Kind() != reflect.Struct {
		return
	}
	for i := range v.NumField() {
		if v.Type().Field(i).IsExported() {
			SetDefaults(v.Field(i))
		}
	}
	if d, ok := v.Addr().Interface().(Defaulter); ok {
		d.SetDefaults()
	}
}

// Standard is a value of a type with its defaults.
func Standard(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	SetDefaults(v)
	return v
}
