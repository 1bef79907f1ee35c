// Unpacks images as engines do, and says which files they have: a line of JSON for each line of JSON.
//
// What is asked: {"layers": ["<base64 of a tar>", ...]}. What is answered: {"files": [["<base64 path>", "<base64
// content>"], ...]}, or {"refused": "<why>"}, or {"disagree": true} where containerd and Docker come to different
// files; files are "odd" where one of the two does not unpack them, or goes by a global header's name. Tars are read by Go's own archive/tar, and written to a disk; what is done with each entry follows
// containerd's pkg/archive and Docker's overlay2 driver, and how folders are laid over each other follows overlayfs.
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"syscall"
)

const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
	mostHops = 255
)

type question struct {
	Layers [][]byte `json:"layers"`
}

type answer struct {
	Files    [][2][]byte `json:"files,omitempty"`
	Refused  string      `json:"refused,omitempty"`
	Disagree bool        `json:"disagree,omitempty"`
	Odd      bool        `json:"odd,omitempty"`
}

// A layer's folder on the disk. Whiteouts are pipes, which hide as much; which folders are opaque is kept beside it.
// It is odd where a global header did something, by its name: that is containerd's alone.
type upper struct {
	root        string
	docker, odd bool
	opaque      map[string]bool
}

// What is at a path: a folder (with children), a plain file (with content), or something that only hides.
type node struct {
	folder, file, opaque bool
	content              []byte
	children             map[string]*node
}

func main() {
	in := bufio.NewReader(os.Stdin)
	out := bufio.NewWriter(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var asked question
		if err := json.Unmarshal(line, &asked); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		text, err := json.Marshal(reply(asked.Layers))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		out.Write(append(text, '\n'))
		out.Flush()
	}
}

func reply(layers [][]byte) answer {
	first, odd, err := unpackImage(layers, false)
	second, _, other := unpackImage(layers, true)
	switch {
	case err != nil && other != nil:
		return answer{Refused: err.Error()}
	case err != nil:
		return answer{Files: second, Odd: true}
	case other != nil:
		return answer{Files: first, Odd: true}
	case !reflect.DeepEqual(first, second):
		return answer{Disagree: true}
	}
	return answer{Files: first, Odd: odd}
}

func unpackImage(layers [][]byte, docker bool) (files [][2][]byte, odd bool, err error) {
	image := newFolder()
	for _, layer := range layers {
		root, err := os.MkdirTemp("", "hallmark-oracle-")
		if err != nil {
			panic(err)
		}
		made := &upper{root: root, docker: docker, opaque: map[string]bool{}}
		err = made.unpack(layer)
		odd = odd || made.odd
		if err == nil {
			layOver(image, made.load(root))
		}
		os.RemoveAll(root)
		if err != nil {
			return nil, odd, err
		}
	}
	files = [][2][]byte{}
	collect(image, "", &files)
	sort.Slice(files, func(i, j int) bool { return bytes.Compare(files[i][0], files[j][0]) < 0 })
	return files, odd, nil
}

func newFolder() *node { return &node{folder: true, children: map[string]*node{}} }

func (u *upper) unpack(layer []byte) error {
	reader := tar.NewReader(bytes.NewReader(layer))
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := u.put(header, reader); err != nil {
			return fmt.Errorf("%q: %w", header.Name, err)
		}
	}
}

func (u *upper) put(header *tar.Header, content io.Reader) error {
	global := header.Typeflag == tar.TypeXGlobalHeader
	if u.docker && global {
		return nil
	}
	above, base := filepath.Split(filepath.Clean(header.Name))
	folder, err := u.resolve(above)
	if err != nil {
		return err
	}
	path := filepath.Join(folder, filepath.Join("/", base))
	if path == u.root {
		return nil
	}
	if _, err := os.Lstat(folder); global && (err != nil || header.PAXRecords == nil) {
		u.odd = true // the name of one with a number that is none depends on the order of a map
	}
	if err := makeFolders(folder, u.root); err != nil {
		return err
	}
	base = filepath.Base(path)
	u.odd = u.odd || (global && strings.HasPrefix(base, whiteout))
	if base == opaque {
		u.opaque[filepath.Dir(path)] = true
		return nil
	}
	if strings.HasPrefix(base, whiteout) {
		hidden := base[len(whiteout):]
		if hidden == "" || hidden == "." || hidden == ".." {
			return errors.New("a whiteout of nothing")
		}
		// A device in its place: it cannot be made where the layer has something already.
		return syscall.Mkfifo(filepath.Join(filepath.Dir(path), hidden), 0o600)
	}
	if found, err := os.Lstat(path); err == nil && !(found.IsDir() && header.Typeflag == tar.TypeDir) {
		u.odd = u.odd || global
		if err := u.remove(path); err != nil {
			return err
		}
	}
	return u.create(path, header, content)
}

func (u *upper) create(path string, header *tar.Header, content io.Reader) error {
	switch header.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeDir:
		if found, err := os.Lstat(path); err == nil && found.IsDir() {
			return nil
		}
		return os.Mkdir(path, 0o755)
	case tar.TypeReg, tar.TypeRegA:
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		defer file.Close()
		written, err := io.Copy(file, content)
		if err == nil && written != header.Size {
			err = errors.New("incomplete")
		}
		return err
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return syscall.Mkfifo(path, 0o600)
	case tar.TypeSymlink:
		return os.Symlink(header.Linkname, path)
	case tar.TypeLink:
		return u.link(path, header.Linkname)
	}
	return fmt.Errorf("an entry of type %q", header.Typeflag)
}

func (u *upper) link(path, name string) error {
	if u.docker {
		name = filepath.Clean("/" + name)
	}
	above, base := filepath.Split(name)
	folder, err := u.resolve(above)
	if err != nil {
		return err
	}
	return os.Link(filepath.Join(folder, base), path)
}

func (u *upper) remove(path string) error {
	for folder := range u.opaque {
		if folder == path || strings.HasPrefix(folder, path+"/") {
			delete(u.opaque, folder)
		}
	}
	return os.RemoveAll(path)
}

// Where a path leads to under the root, whatever links are on the way; none leads out.
func (u *upper) resolve(path string) (string, error) {
	left := strings.Split(path, "/")
	here := u.root
	for hops := 0; len(left) > 0; {
		part := left[0]
		left = left[1:]
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			if here != u.root {
				here = filepath.Dir(here)
			}
			continue
		}
		next := filepath.Join(here, part)
		target, err := os.Readlink(next)
		if err != nil {
			here = next
			continue
		}
		if hops++; hops > mostHops {
			return "", errors.New("too many links")
		}
		if strings.HasPrefix(target, "/") {
			here = u.root
		}
		left = append(strings.Split(target, "/"), left...)
	}
	return here, nil
}

func makeFolders(path, root string) error {
	if path == root {
		return nil
	}
	if found, err := os.Lstat(path); err == nil {
		if found.IsDir() {
			return nil
		}
		return syscall.ENOTDIR
	}
	if err := makeFolders(filepath.Dir(path), root); err != nil {
		return err
	}
	return os.Mkdir(path, 0o755)
}

func (u *upper) load(path string) *node {
	folder := newFolder()
	folder.opaque = u.opaque[path] && path != u.root // overlayfs shows what is beneath an opaque root
	entries, err := os.ReadDir(path)
	if err != nil {
		panic(err)
	}
	for _, entry := range entries {
		place := filepath.Join(path, entry.Name())
		switch {
		case entry.IsDir():
			folder.children[entry.Name()] = u.load(place)
		case entry.Type().IsRegular():
			content, err := os.ReadFile(place)
			if err != nil {
				panic(err)
			}
			folder.children[entry.Name()] = &node{file: true, content: content}
		default:
			folder.children[entry.Name()] = &node{}
		}
	}
	return folder
}

func layOver(below, above *node) {
	for name, item := range above.children {
		found := below.children[name]
		if item.folder {
			if found == nil || !found.folder || item.opaque {
				found = newFolder()
			}
			below.children[name] = found
			layOver(found, item)
		} else {
			below.children[name] = item
		}
	}
}

func collect(folder *node, above string, files *[][2][]byte) {
	for name, item := range folder.children {
		if item.folder {
			collect(item, above+name+"/", files)
		} else if item.file {
			*files = append(*files, [2][]byte{[]byte(above + name), item.content})
		}
	}
}
