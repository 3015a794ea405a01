package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// print writes an answer as -o asks: as it came in JSON, the same in YAML, or
// what table makes of it.
func (c *client) print(out io.Writer, a *answer, table func(w io.Writer) error) error {
	switch c.output {
	case "json":
		var b bytes.Buffer
		if err := json.Indent(&b, escapeControls(bytes.TrimSpace(a.body)), "", "  "); err != nil {
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
	if err := yaml.Load(escapeControls(body), &root); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	plainStyle(&root)
	text, err := yaml.Dump(&root, yaml.WithLineWidth(-1))
	if err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	_, err = out.Write(escapeControls(text))
	return err
}

// escapeControls escapes what JSON and YAML let through in a string: characters
// that a terminal obeys, or that YAML takes for the end of a line. They may
// stand inside double quotes only.
func escapeControls(body []byte) []byte {
	out := make([]byte, 0, len(body))
	for _, r := range string(body) {
		if r >= 0x7f && r <= 0xffff && !strconv.IsPrint(r) {
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = utf8.AppendRune(out, r)
		}
	}
	return out
}

// plainStyle leaves it to the writer where quotes are needed, except around
// what escapeControls will escape.
func plainStyle(n *yaml.Node) {
	n.Style = 0
	if n.Kind == yaml.ScalarNode && printable(n.Value) != n.Value {
		n.Style = yaml.DoubleQuotedStyle
	}
	for _, child := range n.Content {
		plainStyle(child)
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
