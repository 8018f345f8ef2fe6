//! Components that are heavy to compile: any component, with a module full of code inside that it never instantiates.
//!
//! A component may hold any number of core modules, and all of them are compiled. So it does what it did, has the size of a
//! component with a language's engine inside, and needs no such engine. The benchmark of reloads includes this file too.

/// Bytes of code in one function.
const FUNCTION: usize = 4000;
/// Locals of one function, the parameter included.
const LOCALS: u64 = 4;
/// `i32.add`, `i32.sub`, `i32.mul`, `i32.xor`, `i32.rotl` (core specification, 5.4).
const OPERATORS: [u8; 5] = [0x6a, 0x6b, 0x6c, 0x73, 0x77];

/// The smallest function, with its length: it gives back what it got.
const SMALLEST: [u8; 5] = [4, 0, 0x20, 0, 0x0b];

/// A component with so many bytes of code more: long to compile.
pub fn with_code(component: Vec<u8>, bytes: usize) -> Vec<u8> {
    let mut random = Random(1);
    let bodies: Vec<_> = (0..bytes.div_ceil(FUNCTION)).map(|_| body(&mut random)).collect();
    with(component, bodies.len(), &bodies.concat())
}

/// A component with so many functions more, each as small as can be: much to remember while it is compiled.
pub fn with_functions(component: Vec<u8>, count: usize) -> Vec<u8> {
    with(component, count, &SMALLEST.repeat(count))
}

/// A component with a core module of functions that nobody calls.
fn with(mut component: Vec<u8>, count: usize, bodies: &[u8]) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    // The types: one function from i32 to i32.
    section(&mut module, 1, &[1, 0x60, 1, 0x7f, 1, 0x7f]);
    section(&mut module, 3, &[&leb(count)[..], &vec![0; count]].concat());
    section(&mut module, 10, &[&leb(count)[..], bodies].concat());
    section(&mut component, 1, &module);
    component
}

/// One function, with its length. Each step depends on those before, so that no compiler can leave one out.
fn body(random: &mut Random) -> Vec<u8> {
    let mut code = vec![1, LOCALS as u8 - 1, 0x7f];
    while code.len() < FUNCTION {
        let [target, other] = [random.below(LOCALS), random.below(LOCALS)];
        let [first, second] = [0; 2].map(|_| OPERATORS[usize::from(random.below(OPERATORS.len() as u64))]);
        let constant = random.below(64);
        code.extend([0x20, target, 0x20, other, first, 0x41, constant, second, 0x21, target]);
    }
    code.extend([0x20, 0, 0x20, 1, 0x6a, 0x20, 2, 0x6a, 0x20, 3, 0x6a, 0x0b]);
    [leb(code.len()), code].concat()
}

fn section(to: &mut Vec<u8>, id: u8, content: &[u8]) {
    to.push(id);
    to.extend(leb(content.len()));
    to.extend(content);
}

/// An unsigned number as the binary format writes it.
fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Numbers that are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound) as u8
    }
}
