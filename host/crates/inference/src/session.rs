//! A session of ONNX Runtime that any number of threads may run at once, so that the
//! weights are in memory once.
//!
//! ONNX Runtime documents that several threads may call `Run` on one session, and that
//! holds for the CPU provider, the only one used here. `ort` requires `&mut self`
//! because it does not hold for some other providers, so this module calls the C API
//! itself.

use std::ffi::CString;
use std::ptr::{NonNull, null_mut};

use ort::AsPointer;
use ort::session::{RunOptions, Session};
use ort::value::{DynTensor, DynValue};

use super::model::Port;

/// A session, and the names of its ports as C strings.
pub(super) struct SharedSession {
    session: Session,
    inputs: Vec<CString>,
    outputs: Vec<CString>,
}

impl SharedSession {
    /// Shares `session`, whose ports are `inputs` and `outputs`.
    pub(super) fn new(session: Session, inputs: &[Port], outputs: &[Port]) -> ort::Result<Self> {
        let names = |ports: &[Port]| {
            ports
                .iter()
                .map(|port| CString::new(port.name.as_str()).map_err(ort::Error::wrap))
                .collect::<ort::Result<Vec<CString>>>()
        };
        Ok(Self {
            inputs: names(inputs)?,
            outputs: names(outputs)?,
            session,
        })
    }

    /// Runs the model on this thread. `inputs` has a value for each input of the model,
    /// and the result one for each output, in the model's order.
    ///
    /// # Errors
    ///
    /// If ONNX Runtime reports one, also because `options` was told to terminate.
    pub(super) fn run(
        &self,
        options: &RunOptions,
        inputs: &[DynTensor],
    ) -> ort::Result<Vec<DynValue>> {
        if inputs.len() != self.inputs.len() {
            return Err(ort::Error::new("one value is needed for each input"));
        }
        let input_names: Vec<_> = self.inputs.iter().map(|name| name.as_ptr()).collect();
        let output_names: Vec<_> = self.outputs.iter().map(|name| name.as_ptr()).collect();
        let values: Vec<_> = inputs.iter().map(AsPointer::ptr).collect();
        let mut outputs = vec![null_mut(); self.outputs.len()];
        // SAFETY: every pointer comes from a value that outlives the call, the lengths
        // are those of the arrays, and the names end with a zero. The C API allows
        // concurrent runs of one session. `result_from_status` takes ownership of the
        // status.
        #[expect(unsafe_code, reason = "ort offers no run on a shared session")]
        unsafe {
            let status = (ort::api().Run)(
                self.session.inner().ptr().cast_mut(),
                options.ptr(),
                input_names.as_ptr(),
                values.as_ptr(),
                values.len(),
                output_names.as_ptr(),
                output_names.len(),
                outputs.as_mut_ptr(),
            );
            ort::Error::result_from_status(status)?;
        }
        // Every output gets an owner before anything else can fail.
        let outputs: Vec<Option<DynValue>> = outputs
            .into_iter()
            .map(|value| {
                let value = NonNull::new(value)?;
                // SAFETY: the run has just created this value, with the session's
                // allocator, and nothing else owns it.
                #[expect(unsafe_code, reason = "ort offers no run on a shared session")]
                let value = unsafe { DynValue::from_ptr(value, Some(self.session.allocator())) };
                Some(value)
            })
            .collect();
        outputs
            .into_iter()
            .map(|value| value.ok_or_else(|| ort::Error::new("an output has no value")))
            .collect()
    }
}
