package rootfs

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// triplets are Debian's names for the directories of a machine's libraries.
var triplets = map[elf.Machine]string{
	elf.EM_X86_64:  "x86_64-linux-gnu",
	elf.EM_AARCH64: "aarch64-linux-gnu",
}

// libraries returns the paths of the dynamic loader and of the libraries that
// the file asks for itself; theirs are asked for in turn when they are added.
// A file that is no ELF file, or is linked statically, needs none.
func (d Debian) libraries(name string) ([]string, error) {
	r, err := os.Open(d.host(name))
	if err != nil {
		return nil, fmt.Errorf("reading what %s needs: %w", name, err)
	}
	defer r.Close()
	magic := make([]byte, len(elf.ELFMAG))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != elf.ELFMAG {
		return nil, nil
	}
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("reading what %s needs: %w", name, err)
	}
	var found []string
	loader, err := interpreter(f)
	if err != nil {
		return nil, fmt.Errorf("reading the loader of %s: %w", name, err)
	}
	if loader != "" {
		found = append(found, loader)
	}
	sonames, err := f.ImportedLibraries()
	if err != nil {
		return nil, fmt.Errorf("reading what %s needs: %w", name, err)
	}
	dirs := searchPath(f, path.Dir(name))
	for _, soname := range sonames {
		lib, err := d.library(dirs, soname)
		if err != nil {
			return nil, fmt.Errorf("%s needs %s: %w", name, soname, err)
		}
		found = append(found, lib)
	}
	return found, nil
}

// library finds a library in the first directory that has it.
func (d Debian) library(dirs []string, soname string) (string, error) {
	for _, dir := range dirs {
		lib := path.Join(dir, soname)
		_, _, err := d.walk(lib)
		if err == nil {
			return lib, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("none of %s has it", strings.Join(dirs, ", "))
}

// interpreter returns the path of the dynamic loader, or nothing.
func interpreter(f *elf.File) (string, error) {
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b, err := io.ReadAll(p.Open())
		return strings.TrimRight(string(b), "\x00"), err
	}
	return "", nil
}

// searchPath returns where the dynamic loader looks, after ld.so(8): what the
// file itself says (RUNPATH, else RPATH), then the system's directories.
func searchPath(f *elf.File, origin string) []string {
	own, err := f.DynString(elf.DT_RUNPATH)
	if err != nil || len(own) == 0 {
		own, _ = f.DynString(elf.DT_RPATH)
	}
	var dirs []string
	for _, list := range own {
		for _, dir := range strings.Split(list, ":") {
			dir = strings.NewReplacer("$ORIGIN", origin, "${ORIGIN}", origin).Replace(dir)
			if dir != "" {
				dirs = append(dirs, dir)
			}
		}
	}
	if triplet, ok := triplets[f.Machine]; ok {
		dirs = append(dirs, "/usr/lib/"+triplet)
	}
	return append(dirs, "/usr/lib", "/usr/lib64")
}
