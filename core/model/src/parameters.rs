//! The parameters of a model by name.

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::Tensor,
};

/// The path to the current parameter while a module is walked.
#[derive(Default)]
pub(crate) struct Path(Vec<String>);

impl Path {
    pub(crate) fn enter(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    pub(crate) fn leave(&mut self) {
        self.0.pop();
    }

    pub(crate) fn name(&self) -> String {
        self.0.join(".")
    }
}

/// Name and shape of every parameter in the order of the module, `blocks.0.qkv.weight` and so on. Names are
/// the same in every process; burn's `ParamId`s are not.
pub fn parameter_shapes(module: &impl Module) -> Vec<(String, Vec<usize>)> {
    struct Shapes(Path, Vec<(String, Vec<usize>)>);
    impl ModuleVisitor for Shapes {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.enter(name);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.leave();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.push((self.0.name(), param.lazy_shape().to_vec()));
        }
    }
    let mut shapes = Shapes(Path::default(), Vec::new());
    module.visit(&mut shapes);
    shapes.1
}
