"""The message catalogue: every text of an explanation, (English, Chinese) by its key.

`{name}` stands for what is filled in; "for one|for many" is chosen by `n`. Symbols, paths and
numbers stay out of it. Read next: `explanation.py`.
"""

from __future__ import annotations

LANGUAGES = ("en", "zh")

WORDS: dict[str, tuple[str, str]] = {
    # axes of a partition: as a heading, and after "by"
    "example": ("example", "样本"),
    "output": ("output", "输出"),
    "unit": ("unit", "单元"),
    "position": ("position", "位置"),
    "time": ("time", "时间步"),
    "gate": ("gate", "门"),
    "lookup": ("lookup", "查表"),
    "path": ("path", "路径"),
    "use": ("use", "使用"),
    # heading of an explanation
    "examples": ("{n} example|{n} examples", "{n} 个样本"),
    "of_shape": ("shape {shape}", "形状 {shape}"),
    "frozen": (
        "Its layer is frozen (trainable=False): fit does not move this parameter.",
        "该层已冻结（trainable=False）：fit 不会更新此参数。",
    ),
    "loss_not_finite": (
        "The loss is not finite: nothing adds up. cr.find_nonfinite says where that began.",
        "损失不是有限数，无从分解；cr.find_nonfinite 可指出从何处开始。",
    ),
    "gradient_not_finite": (
        "The gradient is not finite; cr.find_nonfinite says where that began.",
        "梯度不是有限数；cr.find_nonfinite 可指出从何处开始。",
    ),
    "check": (
        "central difference {value} (float64), relative difference {relative}",
        "中心差分 {value}（float64），相对误差 {relative}",
    ),
    "mark_ok": ("agrees", "一致"),
    "mark_near": ("near: a difference tells no more here", "接近：差分在此无法更精确"),
    "mark_wrong": ("differs", "不一致"),
    "mark_custom": (
        "differs, as the custom_gradient on the way may intend",
        "不一致：途经自定义梯度 custom_gradient，可能有意如此",
    ),
    "mark_kink": ("kink: a mask flips within the step", "折点：差分步长内有掩码翻转"),
    "as_in_training": ("training mode", "训练模式"),
    "as_in_use": ("inference mode", "推理模式"),
    # partitions
    "by": ("by {axes}, {where}", "按{axes}分解，{where}"),
    "and": (" and ", "与"),
    "comma": (", ", "，"),
    "cut_use": ("where {at} reads the parameter", "在 {at} 读取参数处切开"),
    "cut_output": ("at the output of {at}", "在 {at} 的输出处切开"),
    "cut_use_own": ("where the parameter is read", "在读取参数处切开"),
    "cut_output_own": ("at the model's output", "在模型输出处切开"),
    "the_model": ("the model", "模型"),
    "given": ("input", "输入"),
    "chain": ("chain", "链"),
    "product": ("product", "乘积"),
    "part": ("part", "分项"),
    "share": ("share", "占比"),
    "others": ("{n} other|{n} others", "其余 {n} 项"),
    "others_zero": ("{n} other is 0|{n} others are 0", "其余项中有 {n} 项为 0"),
    "others_all_zero": ("the others are 0", "其余项全为 0"),
    "all_zero": ("the one part is 0|all {n} parts are 0", "全部 {n} 项均为 0"),
    "past": ("past the cut", "绕过切口"),
    "regulariser": ("regulariser", "正则项"),
    "sum": ("sum", "合计"),
    "thin": (
        "The {n} rows shown of {total} hold only {share} of all parts' sizes.",
        "{total} 项中所列的 {n} 项只占各项绝对值之和的 {share}。",
    ),
    "cancelled": ("cancellation {share}", "抵消率 {share}"),
    "sums": (
        "coverage {coverage}, cancellation {cancellation}, the sum is off by {error}",
        "覆盖率 {coverage}，抵消率 {cancellation}，合计与梯度相差 {error}",
    ),
    # influence
    "influence": (
        "influence of {n} example on others|influence of {n} examples on others",
        "{n} 个样本对其他样本的影响",
    ),
    "checkpoints": ("{n} checkpoint|{n} checkpoints", "{n} 个检查点"),
    "influence_sign": (
        "Above 0: training on the example lowers the other one's loss.",
        "正值：用该样本训练会降低另一样本的损失。",
    ),
    "influence_on": ("on example {example}", "对样本 {example} 的影响"),
    "influence_head": ("influence", "影响"),
    "left_columns": (
        "{n} more example asked about is not listed|{n} more examples asked about are not listed",
        "另有 {n} 个被问及的样本未列出",
    ),
    # whole tensors
    "norms": (
        "gradient's norm {norm}, {ratio} times the weights'",
        "梯度范数 {norm}，是权重范数的 {ratio} 倍",
    ),
    "spread": (
        "entries from {smallest} to {largest}, mean {mean}",
        "元素从 {smallest} 到 {largest}，均值 {mean}",
    ),
    "zeros": ("{n} of {total} entries are 0", "{total} 个元素中有 {n} 个为 0"),
    "not_finite": ("{n} not finite", "{n} 个不是有限数"),
    "largest_entries": ("the largest entry|the {n} largest entries", "绝对值最大的 {n} 个元素"),
    "entry": ("entry", "元素"),
    "weight_head": ("w", "w"),
    "gradient": ("gradient", "梯度"),
    "difference": ("difference", "差分"),
    "relative": ("relative", "相对误差"),
    "mark": ("check", "检查"),
    # the layer strip
    "strip": ("layers as the gradient sees them", "从梯度看各层"),
    "strip_inside": ("layers inside {path} as the gradient sees them", "从梯度看 {path} 内各层"),
    "layer": ("layer", "层"),
    "kind": ("kind", "类型"),
    "shape": ("shape", "形状"),
    "ratio": ("ratio", "比值"),
    "closed": ("closed", "关闭"),
    "folded": ("… {n} layer|… {n} layers", "… {n} 层"),
    "strip_columns": (
        "ratio: to the norm of the next row; σ: largest singular value; closed: share of gates",
        "比值：与下一行范数之比；σ：最大奇异值；关闭：关闭的门所占比例",
    ),
    "strip_open": (
        "≥: the search for this value was ended before it was known to {tolerance}",
        "≥：搜索在误差达到 {tolerance} 之前结束",
    ),
    "curve": (
        "t = {first} … {last} of {steps} steps: {start} … {end}",
        "t = {first} … {last}，共 {steps} 步：{start} … {end}",
    ),
    "curve_exact": (
        "exact; a state of {state} numbers; the largest of {n} examples; logarithmic",
        "精确值；状态 {state} 维；取 {n} 个样本中的最大值；对数刻度",
    ),
    "curve_searched": (
        "by power iteration; a state of {state} numbers; the largest of {n} examples; logarithmic",
        "幂迭代；状态 {state} 维；取 {n} 个样本中的最大值；对数刻度",
    ),
    "left_entries": (
        "{n} more entry is not listed|{n} more entries are not listed",
        "另有 {n} 个元素未列出",
    ),
    # derivations
    "derivation_of": ("The backward pass of {name}", "{name} 的反向传播推导"),
    "derivation_loss": ("loss: {name}", "损失函数：{name}"),
    "derivation_read": (
        (
            "δ with v below is ∂L/∂v, with nothing below ∂L/∂z; ⊙ multiplies element by element; "
            "the N examples are rows."
        ),
        "δ 的下标 v 表示 ∂L/∂v，无下标时为 ∂L/∂z；⊙ 为逐元素相乘；N 个样本，每行一个。",
    ),
    "forward_pass": ("Forward", "前向传播"),
    "backward_pass": (
        "Backward: from the loss to the parameters",
        "反向传播：从损失到各参数",
    ),
    "the_loss": ("the loss", "损失"),
    "layer_title": ("layer {number}: {path} ({kind})", "第 {number} 层：{path}（{kind}）"),
    "layers_title": (
        "layers l = {numbers}: {n} alike ({kind})",
        "第 l 层，l = {numbers}：{n} 层相同（{kind}）",
    ),
    "sizes_vary": ("… stands for a size that varies with l", "… 表示随 l 变化的大小"),
    # what a student's expression is
    "student_right": ("Right.", "正确。"),
    "student_sign": ("Wrong: the sign of {where}.", "错误：{where} 的符号反了。"),
    "student_missing": ("Wrong: the factor {factor} is missing.", "错误：缺少因子 {factor}。"),
    "student_extra": ("Wrong: the factor {factor} is too much.", "错误：多了因子 {factor}。"),
    "student_missing_term": (
        "Wrong: a path to the loss is forgotten, {factor}.",
        "错误：漏掉了一条通往损失的路径 {factor}。",
    ),
    "student_extra_term": (
        "Wrong: the term {factor} is too much.",
        "错误：多了一项 {factor}。",
    ),
    "student_argument": (
        (
            "Wrong: {where} takes the derivative of the activation at the wrong argument; "
            "needed is {factor}."
        ),
        "错误：{where} 中激活函数的导数取错了自变量，应为 {factor}。",
    ),
    "student_activation": (
        "Wrong: {where} is not the derivative of this layer's activation; needed is {factor}.",
        "错误：{where} 不是这一层激活函数的导数，应为 {factor}。",
    ),
    "student_replaced": (
        "Wrong: {where} stands where {factor} is needed.",
        "错误：{where} 处应为 {factor}。",
    ),
    "student_transpose": ("Wrong: {where} has to be transposed.", "错误：{where} 需要转置。"),
    "student_order": (
        "Wrong: the factors of {where} are in the wrong order, or transposed.",
        "错误：{where} 中矩阵相乘的次序或转置不对。",
    ),
    "student_product": (
        "Wrong: {where} needs the other product: * is element by element, @ of matrices.",
        "错误：{where} 用错了乘法：* 为逐元素相乘，@ 为矩阵相乘。",
    ),
    "student_sum": (
        "Wrong: {where} has to be summed over the examples, {factor}.",
        "错误：{where} 需要对样本求和 {factor}。",
    ),
    "student_unknown": (
        "Wrong, by more than one mistake or by one that has no name here.",
        "错误：不止一处错误，或错误类型无法识别。",
    ),
    "student_shapes": (
        "The gradient has shape {needed}; the expression gives {came}.",
        "梯度的形状为 {needed}，表达式的形状为 {came}。",
    ),
    "student_no_value": (
        "The gradient has shape {needed}; the shapes in the expression do not fit each other.",
        "梯度的形状为 {needed}，而表达式内部各部分的形状不匹配。",
    ),
    "student_first": (
        "At random weights and data, entry {index} is {came} where the gradient is {needed}.",
        "在随机的权重与数据上，元素 {index} 的值为 {came}，而梯度为 {needed}。",
    ),
    "student_also": ("Besides, the factor {factor} is missing.", "此外还缺少因子 {factor}。"),
    "student_mended": ("Right would be: {text}", "正确的写法：{text}"),
}
