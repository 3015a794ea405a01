package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"go.yaml.in/yaml/v4"
)

// print writes an answer as -o asks: as it came in JSON, the same in YAML, or
// what table makes of it.
func (c *client) print(out io.Writer, a *answer, table func(w io.Writer) error) error {
	switch c.output {
	case "json":
		var b bytes.Buffer
		if err := json.Indent(&b, bytes.TrimSpace(a.body), "", "  "); err != nil {
			return fmt.Errorf("read the server's answer: %w", err)
		}
		b.WriteByte('\n')
		_, err := out.Write(b.Bytes())
		return err
	case "yaml":
		return printYAML(out, a.body)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if err := table(w); err != nil {
		return err
	}
	return w.Flush()
}

// printYAML rewrites JSON, which is YAML already, in the style that people
// read; the order of the members stays.
func printYAML(out io.Writer, body []byte) error {
	var root yaml.Node
	if err := yaml.Load(body, &root); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	blockStyle(&root)
	text, err := yaml.Dump(&root, yaml.WithLineWidth(-1))
	if err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	_, err = out.Write(text)
	return err
}

func blockStyle(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode {
		n.Style = 0
	}
	for _, child := range n.Content {
		blockStyle(child)
	}
}

// printable makes text of others safe for a terminal: what would move the
// cursor, turn the text around or break the line is escaped.
func printable(text string) string {
	for _, r := range text {
		if !strconv.IsPrint(r) {
			quoted := strconv.Quote(text)
			return quoted[1 : len(quoted)-1]
		}
	}
	return text
}

// dash stands for nothing in a table.
func dash(text string) string {
	if text == "" {
		return "-"
	}
	return printable(text)
}
