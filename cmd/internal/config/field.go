package config

import (
	"reflect"
	"strconv"
	"strings"
)

// fieldTag is what a field's struct tags demand of its value. The tags are
// those that the JSON Schema is made from, so that both demand the same.
type fieldTag struct {
	required bool     // jsonschema:"required"; a text must not be empty either
	nonEmpty bool     // jsonschema:"minLength=1"
	minItems int      // jsonschema:"minItems=1"
	enum     []string // jsonschema:"enum=a,enum=b"
	later    []string // later:"c": words of the format that this version does not have
	never    []string // never:"d": words that people try and that no version will have
	minimum  *float64
	maximum  *float64
}

// element is the part of a list's tag that is about its elements.
func (t fieldTag) element() fieldTag { return fieldTag{enum: t.enum, later: t.later, never: t.never} }

type field struct {
	index int
	tag   fieldTag
}

// fieldsOf are a struct's fields by their key.
func fieldsOf(t reflect.Type) map[string]field {
	out := make(map[string]field, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		if name, ok := f.Tag.Lookup("yaml"); ok {
			out[name] = field{i, parseTag(f.Tag)}
		}
	}
	return out
}

// fieldNames are a struct's keys in their order.
func fieldNames(t reflect.Type) []string {
	var out []string
	for i := range t.NumField() {
		if name, ok := t.Field(i).Tag.Lookup("yaml"); ok {
			out = append(out, name)
		}
	}
	return out
}

func parseTag(tag reflect.StructTag) (t fieldTag) {
	for word := range strings.SplitSeq(tag.Get("jsonschema"), ",") {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "required":
			t.required = true
		case "minLength":
			t.nonEmpty = true
		case "minItems":
			t.minItems, _ = strconv.Atoi(value)
		case "enum":
			t.enum = append(t.enum, value)
		case "minimum":
			t.minimum = parseFloat(value)
		case "maximum":
			t.maximum = parseFloat(value)
		}
	}
	t.later, t.never = words(tag.Get("later")), words(tag.Get("never"))
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
