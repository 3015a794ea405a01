package config

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/holdfast-authz/holdfast/cmd/internal/config/strict"
)

// DecodeNode reads stdout, stderr, {file: path} or "file: path".
func (dest *Destination) DecodeNode(f *strict.File, n *yaml.Node, path string) {
	if n.Kind == yaml.MappingNode {
		var as struct {
			File string `yaml:"file" jsonschema:"required"`
		}
		f.Struct(n, path, &as)
		*dest = Destination{File: as.File}
		return
	}
	s, ok := f.Text(n, path)
	if !ok {
		return
	}
	file, isFile := strings.CutPrefix(s, "file:")
	switch file = strings.TrimSpace(file); {
	case s == "stdout" || s == "stderr":
		*dest = Destination{Stream: s}
	case isFile && file != "":
		*dest = Destination{File: file}
	default:
		f.Refuse(n, path, "%s is %s: use stdout, stderr or {file: path}%s", path, strict.Quote(s), strict.DidYouMean(s, []string{"stdout", "stderr"}))
	}
}

// EncodeNode writes what DecodeNode reads.
func (dest Destination) EncodeNode() *yaml.Node {
	if dest.File == "" {
		return strict.Text(dest.Stream)
	}
	return &yaml.Node{
		Kind: yaml.MappingNode, Tag: "!!map", Style: yaml.FlowStyle,
		Content: []*yaml.Node{strict.Text("file"), strict.Text(dest.File)},
	}
}

// DecodeNode reads a mapping of claims to one value or a list of them.
func (c *Claims) DecodeNode(f *strict.File, n *yaml.Node, path string) {
	*c = Claims{}
	f.Entries(n, path, func(claim, path string, value *yaml.Node) {
		(*c)[claim] = f.OneOf(value, path)
	})
}

// EncodeNode writes the claims in the order of their names.
func (c Claims) EncodeNode() *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, claim := range slices.Sorted(maps.Keys(c)) {
		n.Content = append(n.Content, strict.Text(claim), strict.Texts(c[claim]))
	}
	return n
}
