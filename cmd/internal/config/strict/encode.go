package strict

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Dump writes a struct as YAML, as Parse would read it again: with a file only
// the keys that it sets, without one all that are not off by default.
func Dump(v any, file *File) ([]byte, error) {
	e := encoder{}
	if file != nil {
		e.set = file.keys
	}
	value := reflect.ValueOf(v).Elem()
	out, err := yaml.Dump(e.mapping("", value, Standard(value.Type())), yaml.WithLineWidth(-1))
	if err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	return out, nil
}

// Plain is a value as a generic YAML reader would give it.
func Plain(v reflect.Value) (plain any, err error) {
	n := encoder{}.value("", v, v)
	if n == nil {
		return nil, fmt.Errorf("write %s as YAML", v.Type())
	}
	err = n.Decode(&plain)
	return plain, err
}

type encoder struct {
	set map[string]place // keys to write; nil writes them all
}

// mapping is a struct as a node, its keys in the order of its fields. The
// standard is what it would be if the file did not set it.
func (e encoder) mapping(path string, v, standard reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for i := range v.NumField() {
		name, ok := v.Type().Field(i).Tag.Lookup("yaml")
		if !ok {
			continue
		}
		sub := Join(path, name)
		if e.set != nil {
			if _, ok := e.set[sub]; !ok {
				continue
			}
		} else if !worthSaying(v.Field(i), standard.Field(i)) {
			continue
		}
		if value := e.value(sub, v.Field(i), standard.Field(i)); value != nil {
			n.Content = append(n.Content, Text(name), value)
		}
	}
	if e.set == nil && len(n.Content) == 0 && path != "" && !strings.HasSuffix(path, "]") {
		return nil // everything in it is off
	}
	return n
}

// worthSaying leaves out what is off and is off by default.
func worthSaying(v, standard reflect.Value) bool {
	switch v.Kind() {
	case reflect.Int, reflect.Float64:
		return true
	case reflect.Slice, reflect.Map:
		return v.Len() > 0 || standard.Len() > 0
	}
	return !v.IsZero() || !standard.IsZero()
}

func (e encoder) value(path string, v, standard reflect.Value) *yaml.Node {
	switch from := v.Interface().(type) {
	case time.Duration:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: Short(from)}
	case Encoder:
		return from.EncodeNode()
	}
	switch v.Kind() {
	case reflect.Pointer:
		return e.value(path, v.Elem(), Standard(v.Type().Elem()))
	case reflect.Struct:
		return e.mapping(path, v, standard)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.String {
			return Texts(v.Convert(reflect.TypeFor[[]string]()).Interface().([]string))
		}
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for i := range v.Len() {
			n.Content = append(n.Content, e.value(fmt.Sprintf("%s[%d]", path, i), v.Index(i), Standard(v.Type().Elem())))
		}
		return n
	case reflect.String:
		return Text(v.String())
	case reflect.Bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v.Bool())}
	case reflect.Int:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatInt(v.Int(), 10)}
	case reflect.Float64:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float", Value: number(v.Float())}
	}
	return nil
}

// Text is a string as a node. The writer puts it in quotes where it would be
// read as something else.
func Text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

// Texts is a list of strings as a node.
func Texts(list []string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Style: yaml.FlowStyle}
	for _, s := range list {
		n.Content = append(n.Content, Text(s))
	}
	return n
}
