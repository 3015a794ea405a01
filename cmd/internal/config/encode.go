package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// YAML writes the configuration: with effective all of it, the defaults
// included, else only what the file set. It loads again to an equal Config.
func (c *Config) YAML(effective bool) ([]byte, error) {
	e := encoder{}
	if !effective {
		e.set = c.set
	}
	root := e.mapping("", reflect.ValueOf(c).Elem(), standardOf(reflect.TypeFor[Config]()))
	out, err := yaml.Dump(root, yaml.WithLineWidth(-1))
	if err != nil {
		return nil, fmt.Errorf("write the configuration as YAML: %w", err)
	}
	return out, nil
}

type encoder struct {
	set map[string]place // keys to write; nil writes them all
}

// standardOf is a value of a type with its defaults.
func standardOf(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	setDefaults(v)
	return v
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
		sub := join(path, name)
		if e.set != nil {
			if _, ok := e.set[sub]; !ok {
				continue
			}
		} else if !worthSaying(v.Field(i), standard.Field(i)) {
			continue
		}
		if value := e.value(sub, v.Field(i), standard.Field(i)); value != nil {
			n.Content = append(n.Content, text(name), value)
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
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: short(from)}
	case Destination:
		if from.File == "" {
			return text(from.Stream)
		}
		return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Style: yaml.FlowStyle, Content: []*yaml.Node{text("file"), text(from.File)}}
	case Claims:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, name := range slices.Sorted(maps.Keys(from)) {
			n.Content = append(n.Content, text(name), texts(from[name]))
		}
		return n
	}
	switch v.Kind() {
	case reflect.Pointer:
		return e.value(path, v.Elem(), standardOf(v.Type().Elem()))
	case reflect.Struct:
		return e.mapping(path, v, standard)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.String {
			return texts(v.Convert(reflect.TypeFor[[]string]()).Interface().([]string))
		}
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for i := range v.Len() {
			n.Content = append(n.Content, e.value(index(path, i), v.Index(i), standardOf(v.Type().Elem())))
		}
		return n
	case reflect.String:
		return text(v.String())
	case reflect.Bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v.Bool())}
	case reflect.Int:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatInt(v.Int(), 10)}
	case reflect.Float64:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float", Value: number(v.Float())}
	}
	return nil
}

// text is a string as a node. The writer puts it in quotes where it would be
// read as something else.
func text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

func texts(list []string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Style: yaml.FlowStyle}
	for _, s := range list {
		n.Content = append(n.Content, text(s))
	}
	return n
}
