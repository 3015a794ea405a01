package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxLine bounds one line of a file to import.
const maxLine = 64 << 10

// importColumns are those of CSV, in their order where the file names none.
var importColumns = []string{"kind", "value", "issuer", "ttl", "reason", "not_before"}

// importLines reads a file as the batches that are sent.
type importLines struct {
	next    func() (item []byte, line int, err error) // io.EOF: no more
	sum     hash.Hash                                 // of all that was read
	batches int
	item    []byte // read, and too long for the batch before
	line    int
}

// readLines finds out by its first character what a file is.
func readLines(from io.Reader) (*importLines, error) {
	in := bufio.NewReaderSize(from, maxLine)
	if mark, _ := in.Peek(3); string(mark) == "\uFEFF" {
		_, _ = in.Discard(3)
	}
	l := &importLines{sum: sha256.New()}
	for line := 1; ; line++ {
		c, err := in.Peek(1)
		switch {
		case errors.Is(err, io.EOF):
			return nil, errors.New("the file to import is empty")
		case err != nil:
			return nil, fmt.Errorf("read the file to import: %w", err)
		case c[0] == '{':
			l.next = jsonLines(in, line)
			return l, nil
		case c[0] != '\n' && c[0] != '\r':
			l.next = csvLines(in, line)
			return l, nil
		}
		if c[0] == '\r' {
			line--
		}
		_, _ = in.Discard(1)
	}
}

// batch reads as many lines as one request takes; io.EOF where none is left.
// A batch that comes with another error is the one that could not be read.
func (l *importLines) batch() (*batch, error) {
	b := &batch{}
	for len(b.numbers) < importBatch {
		if l.item == nil {
			var err error
			l.item, l.line, err = l.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				b.numbers = append(b.numbers, l.line)
				return b, fmt.Errorf("line %d: %w", l.line, err)
			}
		}
		if len(b.numbers) > 0 && len(b.body)+len(l.item) > importBytes {
			break
		}
		separator := byte(',')
		if len(b.numbers) == 0 {
			separator = '['
		}
		b.body = append(append(b.body, separator), l.item...)
		b.numbers = append(b.numbers, l.line)
		l.item = nil
	}
	if len(b.numbers) == 0 {
		return nil, io.EOF
	}
	l.batches++
	b.seal(l.batches, l.sum)
	return b, nil
}

// jsonLines reads one object a line. What is in it is for the server to judge.
func jsonLines(in *bufio.Reader, line int) func() ([]byte, int, error) {
	line--
	return func() ([]byte, int, error) {
		for {
			text, err := in.ReadSlice('\n')
			line++
			switch {
			case errors.Is(err, bufio.ErrBufferFull):
				return nil, line, fmt.Errorf("is over %d bytes", maxLine)
			case err != nil && !errors.Is(err, io.EOF):
				return nil, line, fmt.Errorf("read the file to import: %w", err)
			case len(bytes.TrimSpace(text)) == 0 && err != nil:
				return nil, line, io.EOF
			case len(bytes.TrimSpace(text)) == 0:
				continue
			}
			var compact, item bytes.Buffer
			if !utf8.Valid(text) || bytes.TrimLeft(text, " \t\r")[0] != '{' || json.Compact(&compact, text) != nil {
				return nil, line, errors.New("is not one JSON object")
			}
			json.HTMLEscape(&item, compact.Bytes()) // as it will be sent: its length counts
			return item.Bytes(), line, nil
		}
	}
}

// csvLines reads one revocation a row; cells that are empty are left out.
func csvLines(in io.Reader, line int) func() ([]byte, int, error) {
	r := csv.NewReader(in)
	r.FieldsPerRecord, r.TrimLeadingSpace, r.ReuseRecord = -1, true, true
	before, columns := line-1, importColumns[:5]
	first := true
	return func() ([]byte, int, error) {
		for {
			row, err := r.Read()
			if errors.Is(err, io.EOF) {
				return nil, 0, io.EOF
			}
			var bad *csv.ParseError
			if errors.As(err, &bad) {
				return nil, before + bad.Line, bad.Err
			}
			if err != nil {
				return nil, before, fmt.Errorf("read the file to import: %w", err)
			}
			at, _ := r.FieldPos(0)
			if first && row[0] == "kind" {
				if columns, err = header(row); err != nil {
					return nil, before + at, err
				}
				first = false
				continue
			}
			first = false
			item, err := csvItem(columns, row)
			return item, before + at, err
		}
	}
}

func header(row []string) (columns []string, err error) {
	for _, name := range row {
		if !slices.Contains(importColumns, name) || slices.Contains(columns, name) {
			return nil, fmt.Errorf("%q is not the name of a column, or there twice: %s", printable(name), strings.Join(importColumns, ", "))
		}
		columns = append(columns, name)
	}
	return columns, nil
}

func csvItem(columns, row []string) ([]byte, error) {
	if len(row) > len(columns) {
		return nil, fmt.Errorf("has %d fields, more than %s", len(row), strings.Join(columns, ", "))
	}
	members := make(map[string]string, len(row))
	size := 0
	for i, cell := range row {
		if cell != "" {
			members[columns[i]] = cell
		}
		if size += len(cell); !utf8.ValidString(cell) || size > maxLine {
			return nil, fmt.Errorf("is not UTF-8, or over %d bytes", maxLine)
		}
	}
	return json.Marshal(members) // its keys in order: the same row makes the same text
}
