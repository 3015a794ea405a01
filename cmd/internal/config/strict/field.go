package strict

import (
	"reflect"
	"strconv"
	"strings"
)

// Tag is what a field's struct tags demand of its value. The tags are
// those that the JSON Schema is made from, so that both demand the same.
type Tag struct {
	Required bool     // jsonschema:"required"; a text must not be empty either
	NonEmpty bool     // jsonschema:"minLength=1"
	MinItems int      // jsonschema:"minItems=1"
	Enum     []string // jsonschema:"enum=a,enum=b"
	Later    []string // later:"c": words of the format that this version does not have
	Never    []string // never:"d": words that people try and that no version will have
	Minimum  *float64
	Maximum  *float64
}

// element is the part of a list's tag that is about its elements.
func (t Tag) element() Tag { return Tag{Enum: t.Enum, Later: t.Later, Never: t.Never} }

// Field is one field of a struct.
type Field struct {
	Index int
	Tag   Tag
}

// Fields are a struct's fields by their key.
func Fields(t reflect.Type) map[string]Field {
	out := make(map[string]Field, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		if name, ok := f.Tag.Lookup("yaml"); ok {
			out[name] = Field{i, parseTag(f.Tag)}
		}
	}
	return out
}

// keysOf are a struct's keys in their order.
func keysOf(t reflect.Type) []string {
	var out []string
	for i := range t.NumField() {
		if name, ok := t.Field(i).Tag.Lookup("yaml"); ok {
			out = append(out, name)
		}
	}
	return out
}

func parseTag(tag reflect.StructTag) (t Tag) {
	for word := range strings.SplitSeq(tag.Get("jsonschema"), ",") {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "required":
			t.Required = true
		case "minLength":
			t.NonEmpty = true
		case "minItems":
			t.MinItems, _ = strconv.Atoi(value)
		case "enum":
			t.Enum = append(t.Enum, value)
		case "minimum":
			t.Minimum = parseFloat(value)
		case "maximum":
			t.Maximum = parseFloat(value)
		}
	}
	t.Later, t.Never = words(tag.Get("later")), words(tag.Get("never"))
	return t
}

func words(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

func parseFloat(s string) *float64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return nil
	}
	return &f
}
